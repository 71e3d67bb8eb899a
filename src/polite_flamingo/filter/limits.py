"""Filters of our own, each a column that must not exceed a limit; a limit of None switches one off.

- repetition: a decoder caught in a loop (the paper's decoding forbids repeated trigrams instead);
- leaked_boxes: coordinates from the annotation that the rewriter copied instead of putting into words;
- unsupported_objects, numbers_changed, yes_no_flipped: beyond the paper and off by default (`scorers/checks.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.columns import Batch, Verdicts, number
from polite_flamingo.records import Rewrite, Task, Verdict
from polite_flamingo.settings import Settings, Share


class RepetitionSettings(Settings):
    """Bound of the repetition."""

    inline: ClassVar[bool] = True
    max_share: Share = Field(0.3, description="ours: share of words in repeated 4-grams")


class LeakedBoxesSettings(Settings):
    """Bound of the boxes."""

    inline: ClassVar[bool] = True
    max_boxes: int = Field(0, ge=0, description="ours: bounding boxes left in a rewrite")


class UnsupportedObjectsSettings(Settings):
    """Bound of the objects that nothing supports."""

    inline: ClassVar[bool] = True
    max_objects: int | None = Field(None, ge=0, description="ours; null: off")


class NumbersSettings(Settings):
    """Bound of the numbers changed."""

    inline: ClassVar[bool] = True
    max_changed: int | None = Field(None, ge=0, description="ours; null: off")


class YesNoSettings(Settings):
    """Whether an answer may be turned round."""

    inline: ClassVar[bool] = True
    reject_flipped: bool = Field(False, description="ours; false: off")


@dataclass(frozen=True, slots=True)
class LimitFilter:
    """Looks at one column of the text that the paragraph step leaves.

    Args:
        name: The filter's name.
        column: The column it reads.
        most: Largest value that passes; None rejects nothing.
        decimals: Digits shown of the score.
        what: What is counted, for the reason.
    """

    name: str
    column: str
    most: float | None
    decimals: int = 0
    what: str = ""

    def threshold(self, task: Task) -> float | None:
        """What the score is compared with."""
        return self.most

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject a value above the limit."""
        score = number(rewrite, self.column)
        if score is None or self.most is None or score <= self.most:
            return Verdict(score=score)
        return Verdict(f"{self.name}: {score:.{self.decimals}f} {self.what}, more than {self.most}", score)

    def judge_all(self, batch: Batch) -> Verdicts:
        """`judge` of every row."""
        score = batch.number(self.column)
        return Verdicts(score, score > (float("inf") if self.most is None else self.most))


def repetition(max_share: float) -> LimitFilter:
    """At most this share of the words in repeated 4-grams."""
    return LimitFilter("repetition", "repeated_share", max_share, 4, "of the words repeated")


def leaked_boxes(max_boxes: int) -> LimitFilter:
    """At most this many bounding boxes in the text."""
    return LimitFilter("leaked_boxes", "boxes", max_boxes, 0, "boxes")


def unsupported_objects(most: int | None) -> LimitFilter:
    """At most this many kinds of objects that nothing known about the image supports."""
    return LimitFilter("unsupported_objects", "unsupported_objects", most, 0, "objects that nothing supports")


def numbers_changed(most: int | None) -> LimitFilter:
    """At most this many numbers lost, invented or replaced."""
    return LimitFilter("numbers_changed", "numbers_changed", most, 0, "numbers changed")


def yes_no_flipped(reject: bool) -> LimitFilter:
    """No answer that says no where the annotation says yes, or the other way round."""
    return LimitFilter("yes_no_flipped", "yes_no_flipped", 0 if reject else None, 0, "answer turned round")
