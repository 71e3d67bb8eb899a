"""All filters in the order of Figure 10: length, change, STS, paragraphs, NLI; then ours.

`decide` is pure: score columns and thresholds in, a decision out; `decide_all` is the same for a batch of the score
table. Every filter gives its verdict also after the first rejection, so that a report can say what each one alone would
do. All of them see the record as the paragraph step leaves it, with the scores of the text that is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from polite_flamingo.filter.change import ChangeFilter, ChangeSettings
from polite_flamingo.filter.columns import Batch, Verdicts
from polite_flamingo.filter.contradiction import ContradictionFilter, NliSettings
from polite_flamingo.filter.length import LengthFilter, LengthSettings
from polite_flamingo.filter.limits import (
    LeakedBoxesSettings,
    NumbersSettings,
    RepetitionSettings,
    UnsupportedObjectsSettings,
    YesNoSettings,
    leaked_boxes,
    numbers_changed,
    repetition,
    unsupported_objects,
    yes_no_flipped,
)
from polite_flamingo.filter.near_duplicates import NearDuplicatesSettings
from polite_flamingo.filter.paragraphs import ParagraphEditor, ParagraphSettings, without_cuts
from polite_flamingo.filter.sts import StsFilter, StsSettings
from polite_flamingo.filter.template import TemplateSettings
from polite_flamingo.filter.unfinished import UnfinishedFilter
from polite_flamingo.records import Rewrite, Task, Verdict
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Ints

ORDER = (
    "length", "change", "sts", "paragraphs", "nli",
    "repetition", "leaked_boxes", "unfinished",
    "unsupported_objects", "numbers_changed", "yes_no_flipped",
)  # fmt: skip
OPTIONAL = ORDER[-3:]  # beyond the paper, off by default
KEPT = -1  # in `Decisions.failed`


class Filter(Protocol):
    """A pure function of score columns and thresholds."""

    @property
    def name(self) -> str:
        """One of `ORDER`."""
        ...

    def threshold(self, task: Task) -> Any:
        """What the score of a task is compared with."""
        ...

    def judge(self, rewrite: Rewrite) -> Verdict:
        """The verdict on one record."""
        ...

    def judge_all(self, batch: Batch) -> Verdicts:
        """The same verdicts on many."""
        ...


class FilterSettings(Settings):
    """Settings of all filters, in the order of Figure 10; then ours."""

    length: LengthSettings = Field(LengthSettings(), description="Figure 10 names a length filter, bounds are ours")
    change: ChangeSettings = Field(ChangeSettings(), description="Figure 10 names a change filter, criterion is ours")
    sts: StsSettings = StsSettings()
    paragraphs: ParagraphSettings = Field(
        ParagraphSettings(), description="section 3.3: paragraphs below 17.0 are cut (captions)"
    )
    nli: NliSettings = Field(NliSettings(), description="section 3.3: contradiction is dropped (VQA)")
    repetition: RepetitionSettings = Field(RepetitionSettings(), description="ours: share of words in repeated 4-grams")
    leaked_boxes: LeakedBoxesSettings = Field(
        LeakedBoxesSettings(), description="ours: bounding boxes left in a rewrite"
    )
    unsupported_objects: UnsupportedObjectsSettings = Field(
        UnsupportedObjectsSettings(), description="the last five: ours, beyond the paper, off while null or false"
    )
    numbers: NumbersSettings = Field(NumbersSettings(), description="numbers that annotation and rewrite do not share")
    yes_no: YesNoSettings = Field(
        YesNoSettings(), description="yes where the annotation says no, or the other way round"
    )
    near_duplicates: NearDuplicatesSettings = Field(
        NearDuplicatesSettings(), description="MinHash similarity of answers within a source"
    )
    template: TemplateSettings = Field(
        TemplateSettings(), description="share of a source's records that may begin with the same words"
    )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the filters compare with; the defaults are those of params.yaml."""

    min_words: int = 3
    max_words: int = 400
    max_rouge_l: float = 0.95
    min_cosine: float = 0.40
    min_cosine_per_task: tuple[tuple[str, float], ...] = ()
    min_clip_logit: float = 17.0
    nli_reject: tuple[str, ...] = ("contradiction",)
    max_repeated_share: float = 0.3
    max_boxes: int = 0
    max_unsupported_objects: int | None = None
    max_numbers_changed: int | None = None
    reject_yes_no_flipped: bool = False
    max_similarity: float | None = None  # these two: filter/sets.py
    max_opening_share: float | None = None

    def filters(self) -> tuple[Filter, ...]:
        """The filters with these thresholds, in `ORDER`."""
        return (
            LengthFilter(self.min_words, self.max_words),
            ChangeFilter(self.max_rouge_l),
            StsFilter(self.min_cosine, self.min_cosine_per_task),
            ParagraphEditor(self.min_clip_logit),
            ContradictionFilter(self.nli_reject),
            repetition(self.max_repeated_share),
            leaked_boxes(self.max_boxes),
            UnfinishedFilter(),
            unsupported_objects(self.max_unsupported_objects),
            numbers_changed(self.max_numbers_changed),
            yes_no_flipped(self.reject_yes_no_flipped),
        )


@dataclass(frozen=True, slots=True)
class FilterResult:
    """One filter's part in a decision."""

    score: float | None
    threshold: Any
    passed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a rewrite.

    Args:
        reason: Of the first filter that rejects, beginning with its name; None: kept.
        verdicts: Every filter's score (None: does not apply), threshold and whether it passed, in `ORDER`.
        rewrite: The record after the paragraph step if kept, as it came if rejected.
        cut: (clip_logit, text) of the paragraphs below the threshold.
    """

    reason: str | None
    verdicts: Mapping[str, FilterResult]
    rewrite: Rewrite
    cut: tuple[tuple[float, str], ...]

    @property
    def kept(self) -> bool:
        """True when every filter passed."""
        return self.reason is None

    @property
    def text(self) -> str:
        """The response after the edit."""
        return self.rewrite.rewritten

    @property
    def failed(self) -> str | None:
        """Name of the first filter that rejects."""
        return next((name for name, result in self.verdicts.items() if not result.passed), None)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What becomes of a batch.

    Args:
        failed: Place in `ORDER` of the first filter that rejects, `KEPT` for none; int64, shape (rows,).
        verdicts: Every filter's scores and rejections, in `ORDER`.
        cut: Number of paragraphs cut from the text; 0 where all would be; int64, shape (rows,).
    """

    failed: Ints
    verdicts: Mapping[str, Verdicts]
    cut: Ints


def decide(rewrite: Rewrite, thresholds: Thresholds) -> Decision:
    """Judge one scored rewrite.

    Raises:
        DataError: the record was never scored.
    """
    edit = ParagraphEditor(thresholds.min_clip_logit).edit(rewrite)
    judged: list[tuple[Filter, Verdict]] = [
        (one, edit.verdict if isinstance(one, ParagraphEditor) else one.judge(edit.rewrite))
        for one in thresholds.filters()
    ]
    reason = next((verdict.reason for _, verdict in judged if not verdict.kept), None)
    return Decision(
        reason=reason,
        verdicts={f.name: FilterResult(v.score, f.threshold(rewrite.task), v.kept) for f, v in judged},
        rewrite=without_cuts(edit.rewrite) if reason is None else rewrite,
        cut=edit.cut,
    )


def decide_all(batch: Batch, thresholds: Thresholds) -> Decisions:
    """Judge a batch of the score table (`filter/table.py`), in NumPy; equals `decide` record by record.

    Raises:
        DataError: the table lacks a column.
    """
    import numpy as np

    edited, paragraphs = ParagraphEditor(thresholds.min_clip_logit).edit_all(batch)
    verdicts = {
        one.name: paragraphs if isinstance(one, ParagraphEditor) else one.judge_all(edited)
        for one in thresholds.filters()
    }
    failed = np.full(len(batch), KEPT, dtype=np.int64)
    for place, name in reversed(list(enumerate(ORDER))):
        failed[verdicts[name].rejected] = place
    return Decisions(failed, verdicts, edited.cut if edited.cut is not None else np.zeros(len(batch), dtype=np.int64))
