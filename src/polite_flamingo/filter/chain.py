"""All filters in the order of Figure 10: length, change, STS, paragraphs, NLI; then ours.

`decide` is pure: a batch of score columns and settings in, decisions out. Every filter gives its verdict also after the
first rejection, so that a report can say what each one alone would do. All of them see the record as the paragraph step
leaves it, with the scores of the text that is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field, field_validator

from polite_flamingo.errors import DataError, did_you_mean
from polite_flamingo.filter.change import ChangeFilter
from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.filter.contradiction import ContradictionFilter
from polite_flamingo.filter.judge import JudgeAnswerFilter, JudgeSupportFilter
from polite_flamingo.filter.leaked_boxes import LeakedBoxesFilter
from polite_flamingo.filter.learned import LearnedFilter
from polite_flamingo.filter.length import LengthFilter
from polite_flamingo.filter.near_duplicates import NearDuplicateFilter
from polite_flamingo.filter.numbers import NumbersFilter
from polite_flamingo.filter.paragraphs import ParagraphFilter, cut_paragraphs, without_cuts
from polite_flamingo.filter.repetition import RepetitionFilter
from polite_flamingo.filter.sts import StsFilter
from polite_flamingo.filter.template import TemplateFilter
from polite_flamingo.filter.unfinished import UnfinishedFilter
from polite_flamingo.filter.unsupported_objects import UnsupportedObjectsFilter
from polite_flamingo.filter.yes_no import YesNoFilter
from polite_flamingo.plugins import load_all
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Ints

KEPT = -1  # in `Decisions.failed`
PLUGGED: Mapping[str, Any] = load_all("filters")  # classes of other packages, by their name


class Filter(Protocol):
    """A pure function of score columns and its own settings."""

    @property
    def name(self) -> str:
        """One of `ORDER`."""
        ...

    @property
    def title(self) -> str:
        """Its name for readers."""
        ...

    @property
    def axis(self) -> str:
        """What its score is, for readers."""
        ...

    def threshold(self, task: Task) -> Any:
        """What the score of a task is compared with; None: the filter is off."""
        ...

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """The verdict on every row."""
        ...

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row that it rejects is rejected, beginning with its name."""
        ...


class FilterSettings(Settings):
    """Every filter with its settings, in the order of Figure 10; then ours; the last two look at whole sources."""

    length: LengthFilter = Field(LengthFilter(), description="Figure 10 names a length filter, bounds are ours")
    change: ChangeFilter = Field(ChangeFilter(), description="Figure 10 names a change filter, criterion is ours")
    sts: StsFilter = StsFilter()
    paragraphs: ParagraphFilter = Field(
        ParagraphFilter(), description="section 4.2: paragraphs below 17.0 are cut (captions)"
    )
    nli: ContradictionFilter = Field(ContradictionFilter(), description="section 4.2: contradiction is dropped (VQA)")
    repetition: RepetitionFilter = Field(RepetitionFilter(), description="ours: share of words in repeated 4-grams")
    leaked_boxes: LeakedBoxesFilter = Field(LeakedBoxesFilter(), description="ours: bounding boxes left in a rewrite")
    unsupported_objects: UnsupportedObjectsFilter = Field(
        UnsupportedObjectsFilter(), description="the last eight: ours, beyond the paper, off while null or false"
    )
    numbers: NumbersFilter = Field(NumbersFilter(), description="numbers that annotation and rewrite do not share")
    judge: JudgeSupportFilter = Field(JudgeSupportFilter(), description="statements that score.judge finds supported")
    judge_answer: JudgeAnswerFilter = Field(
        JudgeAnswerFilter(), description="answers that score.judge finds to be others than the annotated ones"
    )
    yes_no: YesNoFilter = Field(YesNoFilter(), description="yes where the annotation says no, or the other way round")
    learned: LearnedFilter = Field(LearnedFilter(), description="probability of an error by a model of all scores")
    near_duplicates: NearDuplicateFilter = Field(
        NearDuplicateFilter(), description="MinHash similarity of answers within a source"
    )
    template: TemplateFilter = Field(
        TemplateFilter(), description="share of a source's records that may begin with the same words"
    )

    plugins: dict[str, dict[str, Any]] = Field(
        {}, description="filters of other packages: name -> its settings (docs/how_to_plug_in.md)"
    )

    @field_validator("plugins")
    @classmethod
    def _check_plugins(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        unknown = sorted(set(given) - set(PLUGGED))
        if unknown:
            raise ValueError(f"no installed package has a filter {unknown[0]!r} ({did_you_mean(unknown[0], PLUGGED)})")
        return {name: PLUGGED[name](**values).model_dump() for name, values in given.items()}

    def filters(self) -> tuple[Filter, ...]:
        """Those that look at one record at a time, in `ORDER`."""
        return (
            self.length,
            self.change,
            self.sts,
            self.paragraphs,
            self.nli,
            self.repetition,
            self.leaked_boxes,
            UnfinishedFilter(),
            self.unsupported_objects,
            self.numbers,
            self.judge,
            self.judge_answer,
            self.yes_no,
            self.learned,
            *(kind(**self.plugins.get(name, {})) for name, kind in PLUGGED.items()),
        )

    def changed(self, changes: Mapping[str, Any]) -> FilterSettings:
        """These settings with some values replaced, by their names in params.yaml, e.g. ``sts.min_cosine``."""
        values = self.model_dump()
        for name, value in changes.items():
            *path, last = name.split(".")
            section = values
            for part in path:
                section = section.setdefault(part, {})
            section[last] = value
        return FilterSettings(**values)

    def flat(self) -> dict[str, Any]:
        """Every value by its name in params.yaml, e.g. ``sts.min_cosine``."""
        return {f"{section}.{key}": value for section, keys in self.model_dump().items() for key, value in keys.items()}


ORDER = tuple(one.name for one in FilterSettings().filters())


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
        settings: What was decided with.
        edited: The batch with the scores after the paragraph step.
        failed: Index in `ORDER` of the first filter that rejects, `KEPT` for none; int64, shape (rows,).
        verdicts: Every filter's scores and rejections, in `ORDER`.
        cut: Number of paragraphs cut from the text; 0 where all would be; int64, shape (rows,).
    """

    settings: FilterSettings
    edited: ScoreBatch
    failed: Ints
    verdicts: Mapping[str, Verdicts]
    cut: Ints

    def on(self, rewrites: Iterable[Rewrite]) -> Iterator[tuple[Rewrite, Decision]]:
        """The records of the batch with the decisions on them, one by one.

        Args:
            rewrites: The records of the rows, in their order.

        Raises:
            DataError: a record is not that of its row, or its text has changed since it was scored.
        """
        judged = {
            f.name: (f, self.verdicts[f.name].score.tolist(), self.verdicts[f.name].rejected.tolist())
            for f in self.settings.filters()
        }
        below, logits = self.settings.paragraphs.below(self.edited), self.edited.numbers("clip_logits")
        ids = self.edited.ids()
        for row, rewrite in enumerate(rewrites):
            if rewrite.id != ids[row]:
                raise DataError(
                    "score table and records differ", value=(ids[row], rewrite.id),
                    next_step="run `polite-flamingo score` again",
                )  # fmt: skip
            start = logits.starts[row]
            edited, cut = cut_paragraphs(rewrite, below[start : start + logits.lengths[row]].tolist())
            failed = int(self.failed[row])
            decision = Decision(
                reason=None if failed == KEPT else judged[ORDER[failed]][0].reason(self.edited, row),
                verdicts={
                    name: FilterResult(
                        None if math.isnan(score[row]) else score[row], one.threshold(rewrite.task), not rejected[row]
                    )
                    for name, (one, score, rejected) in judged.items()
                },
                rewrite=without_cuts(edited) if failed == KEPT else rewrite,
                cut=cut,
            )
            yield rewrite, decision


def decide(batch: ScoreBatch, settings: FilterSettings) -> Decisions:
    """Judge a batch of the score table (`filter/table.py`).

    Raises:
        DataError: the table lacks a column.
    """
    import numpy as np

    edited, paragraphs = settings.paragraphs.edit(batch)
    verdicts = {one.name: paragraphs if one is settings.paragraphs else one.judge(edited) for one in settings.filters()}
    failed = np.full(len(batch), KEPT, dtype=np.int64)
    for index, name in reversed(list(enumerate(ORDER))):
        failed[verdicts[name].rejected] = index
    cut = edited.cut if edited.cut is not None else np.zeros(len(batch), dtype=np.int64)
    return Decisions(settings, edited, failed, verdicts, cut)
