"""All filters in the order of Figure 10: length, change, STS, paragraphs, NLI; then ours.

`decide` is pure: score columns and thresholds in, a decision out. Every filter gives its verdict also after the first
rejection, so that a report can say what each one alone would do. Filters after the paragraph step see the edited text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polite_flamingo.filter.change import ChangeFilter
from polite_flamingo.filter.contradiction import ContradictionFilter
from polite_flamingo.filter.leaked_boxes import LeakedBoxesFilter
from polite_flamingo.filter.length import LengthFilter
from polite_flamingo.filter.paragraphs import ALL_CUT, ParagraphEditor
from polite_flamingo.filter.repetition import RepetitionFilter
from polite_flamingo.filter.sts import StsFilter
from polite_flamingo.records import Rewrite, Verdict

ORDER = ("length", "change", "sts", "paragraphs", "nli", "repetition", "leaked_boxes", "unfinished")


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


def decide(rewrite: Rewrite, thresholds: Thresholds) -> Decision:
    """Judge one scored rewrite.

    Raises:
        DataError: the record was never scored.
    """
    t = thresholds
    sts = StsFilter(t.min_cosine, t.min_cosine_per_task)
    edit = ParagraphEditor(t.min_clip_logit).edit(rewrite)
    edited = edit.rewrite
    judged: list[tuple[str, Any, Verdict]] = [
        ("length", [t.min_words, t.max_words], LengthFilter(t.min_words, t.max_words).judge(rewrite)),
        ("change", t.max_rouge_l, ChangeFilter(t.max_rouge_l).judge(rewrite)),
        ("sts", sts.threshold(rewrite.task), sts.judge(rewrite)),
        ("paragraphs", t.min_clip_logit, Verdict(ALL_CUT if edit.all_cut else None, edit.lowest)),
        ("nli", list(t.nli_reject), ContradictionFilter(t.nli_reject).judge(edited)),
        ("repetition", t.max_repeated_share, RepetitionFilter(t.max_repeated_share).judge(edited)),
        ("leaked_boxes", t.max_boxes, LeakedBoxesFilter(t.max_boxes).judge(edited)),
        ("unfinished", "stop", Verdict("unfinished" if rewrite.finish_reason == "length" else None)),
    ]
    reason = next((verdict.reason for _, _, verdict in judged if not verdict.kept), None)
    return Decision(
        reason=reason,
        verdicts={name: FilterResult(v.score, threshold, v.kept) for name, threshold, v in judged},
        rewrite=edited if reason is None else rewrite,
        cut=edit.cut,
    )
