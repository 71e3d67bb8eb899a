"""STS filter for captions (section 3.3): below a cosine of 0.40 the rewrite is about something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from polite_flamingo.filter.columns import Batch, Verdicts, number
from polite_flamingo.records import Rewrite, Task, Verdict
from polite_flamingo.settings import Settings


class StsSettings(Settings):
    """Lowest similarity of captions."""

    min_cosine: float = Field(0.40, ge=-1, le=1, description="section 3.3: below 0.40 is dropped (captions)")
    per_task: dict[Literal["caption", "change", "detail"], float] = Field(
        {}, description="ours: another threshold for caption, change or detail"
    )


@dataclass(frozen=True, slots=True)
class StsFilter:
    """Looks at ``sts`` of captioning records, taken on the text that the paragraph step leaves.

    The paper says "cosine distance below 0.40"; its code compares the similarity, as does this.
    """

    min_cosine: float
    per_task: tuple[tuple[str, float], ...] = ()  # ours: (task, threshold) where a task needs another one
    name: str = "sts"

    def threshold(self, task: Task) -> float:
        """Lowest similarity that passes, for one task."""
        return dict(self.per_task).get(str(task), self.min_cosine)

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject a caption whose similarity with the raw captions is below the threshold of its task."""
        score = number(rewrite, "sts") if rewrite.task.is_caption else None
        lowest = self.threshold(rewrite.task)
        if score is not None and score < lowest:
            return Verdict(f"sts: {score:.4f} below {lowest}", score)
        return Verdict(score=score)

    def judge_all(self, batch: Batch) -> Verdicts:
        """`judge` of every row."""
        import numpy as np

        score = np.where(batch.captions, batch.number("sts"), np.nan)
        codes, tasks = batch.texts("task")
        return Verdicts(score, score < np.array([self.threshold(Task(task)) for task in tasks])[codes])
