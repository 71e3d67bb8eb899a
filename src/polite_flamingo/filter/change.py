"""Change filter: a rewrite that repeats the annotation taught nothing. Figure 10 names it; the criterion is ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.columns import Batch, Verdicts, number
from polite_flamingo.records import Rewrite, Task, Verdict
from polite_flamingo.settings import Settings, Share


class ChangeSettings(Settings):
    """Bound of the similarity with the raw answer."""

    inline: ClassVar[bool] = True
    max_rouge_l: Share = Field(0.95, description="ours")


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Looks at ``rouge_l`` with the raw answer."""

    max_rouge_l: float
    name: str = "change"

    def threshold(self, task: Task) -> float:
        """What the score is compared with."""
        return self.max_rouge_l

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject a rewrite more similar to its raw answer than `max_rouge_l`."""
        score = number(rewrite, "rouge_l")
        if score is not None and score > self.max_rouge_l:
            return Verdict(f"change: Rouge-L {score:.4f} above {self.max_rouge_l}", score)
        return Verdict(score=score)

    def judge_all(self, batch: Batch) -> Verdicts:
        """`judge` of every row."""
        score = batch.number("rouge_l")
        return Verdicts(score, score > self.max_rouge_l)
