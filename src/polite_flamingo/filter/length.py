"""Length filter: too short says nothing, too long rambles. Figure 10 names it; the bounds are ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.columns import Batch, Verdicts, number
from polite_flamingo.records import Rewrite, Task, Verdict
from polite_flamingo.settings import Settings


class LengthSettings(Settings):
    """Bounds of the number of words, both included."""

    inline: ClassVar[bool] = True
    min_words: int = Field(3, ge=0, description="ours")
    max_words: int = Field(400, gt=0, description="ours")


@dataclass(frozen=True, slots=True)
class LengthFilter:
    """Looks at ``words``, counted before the paragraph step; bounds included."""

    min_words: int
    max_words: int
    name: str = "length"

    def threshold(self, task: Task) -> list[int]:
        """What the score is compared with."""
        return [self.min_words, self.max_words]

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject what has fewer than `min_words` or more than `max_words`."""
        words = number(rewrite, "words")
        if words is not None and words < self.min_words:
            return Verdict(f"length: {words:.0f} words, fewer than {self.min_words}", words)
        if words is not None and words > self.max_words:
            return Verdict(f"length: {words:.0f} words, more than {self.max_words}", words)
        return Verdict(score=words)

    def judge_all(self, batch: Batch) -> Verdicts:
        """`judge` of every row."""
        words = batch.number("words")
        return Verdicts(words, (words < self.min_words) | (words > self.max_words))
