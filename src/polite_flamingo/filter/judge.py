"""Filters by a vision-language judge's verdict: unsupported statements, another answer; ours, off by default."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.filter.limits import LimitFilter
from polite_flamingo.records import Task
from polite_flamingo.settings import Settings, Share


class JudgeSupportFilter(Settings):
    """Looks at the share of a rewrite's statements that the judge finds supported (`scorers/judge.py`)."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "judge_supported"
    title: ClassVar[str] = "Judge: supported"
    axis: ClassVar[str] = "Share of statements that image or annotation support"

    min_supported: Share | None = Field(None, description="ours; null: off")

    def threshold(self, task: Task) -> float | None:
        """Lowest share that passes."""
        return self.min_supported

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject a share below the threshold."""
        score = batch.number("judge_supported")
        return Verdicts(score, score < (float("-inf") if self.min_supported is None else self.min_supported))

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected, in the judge's words."""
        share = batch.number("judge_supported")[row]
        return f"{self.name}: {share:.2f} below {self.min_supported}: {batch.text('judge_reason', row)}"


class JudgeAnswerFilter(LimitFilter):
    """Looks at whether the judge finds the annotated answer in the rewrite."""

    name: ClassVar[str] = "judge_other_answer"
    title: ClassVar[str] = "Judge: same answer"
    axis: ClassVar[str] = "1 where the answer is not the annotated one"
    column: ClassVar[str] = "judge_other_answer"
    quantity: ClassVar[str] = "other answer"

    reject_other: bool = Field(False, description="ours; false: off")

    @property
    def limit(self) -> int | None:
        """Largest value that passes."""
        return 0 if self.reject_other else None

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected, in the judge's words."""
        return f"{self.name}: {batch.text('judge_reason', row)}"
