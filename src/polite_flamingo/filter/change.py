"""Change filter: a rewrite that repeats the annotation taught nothing. Figure 10 names it; the criterion is ours."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.records import Task
from polite_flamingo.settings import Settings, Share


class ChangeFilter(Settings):
    """Looks at ``rouge_l`` with the raw answer."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "change"
    title: ClassVar[str] = "Change"
    axis: ClassVar[str] = "Rouge-L with the raw answer"

    max_rouge_l: Share = Field(0.95, description="ours")

    def threshold(self, task: Task) -> float:
        """What the score is compared with."""
        return self.max_rouge_l

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject a rewrite more similar to its raw answer than `max_rouge_l`."""
        score = batch.number("rouge_l")
        return Verdicts(score, score > self.max_rouge_l)

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        return f"change: Rouge-L {batch.number('rouge_l')[row]:.4f} above {self.max_rouge_l}"
