"""STS filter for captions (section 4.2): below a cosine of 0.40 the rewrite is about something else."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.records import Task
from polite_flamingo.settings import Settings


class StsFilter(Settings):
    """Looks at ``sts`` of captioning records, taken on the text that the paragraph step leaves.

    The paper says "cosine distance below 0.40"; its code compares the similarity, as does this.
    """

    name: ClassVar[str] = "sts"
    title: ClassVar[str] = "STS"
    axis: ClassVar[str] = "Cosine with the raw answer"

    min_cosine: float = Field(0.40, ge=-1, le=1, description="section 4.2: below 0.40 is dropped (captions)")
    per_task: dict[Literal["caption", "change", "detail"], float] = Field(
        {}, description="ours: another threshold for caption, change or detail"
    )

    def threshold(self, task: Task) -> float:
        """Lowest similarity that passes, for one task."""
        return next((value for name, value in self.per_task.items() if name == task), self.min_cosine)

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject a caption whose similarity with the raw captions is below the threshold of its task."""
        import numpy as np

        score = np.where(batch.captions, batch.number("sts"), np.nan)
        codes, tasks = batch.texts("task")
        return Verdicts(score, score < np.array([self.threshold(Task(task)) for task in tasks])[codes])

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        return f"sts: {batch.number('sts')[row]:.4f} below {self.threshold(Task(batch.text('task', row)))}"
