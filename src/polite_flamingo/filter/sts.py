"""STS filter for captions (section 3.3): below a cosine of 0.40 the rewrite is about something else."""

from __future__ import annotations

from dataclasses import dataclass

from polite_flamingo.filter.columns import number
from polite_flamingo.records import Rewrite, Verdict


@dataclass(frozen=True, slots=True)
class StsFilter:
    """Looks at ``sts`` of captioning records.

    The paper says "cosine distance below 0.40"; its code compares the similarity, as does this.
    """

    min_cosine: float
    name: str = "sts"

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject a caption whose similarity with the raw captions is below `min_cosine`."""
        score = number(rewrite, "sts") if rewrite.task.is_caption else None
        if score is not None and score < self.min_cosine:
            return Verdict(f"sts: {score:.4f} below {self.min_cosine}", score)
        return Verdict(score=score)
