"""Unfinished filter: a rewrite that ran into the token limit stops in the middle of a sentence. Ours."""

from __future__ import annotations

from dataclasses import dataclass

from polite_flamingo.filter.columns import Batch, Verdicts
from polite_flamingo.records import Rewrite, Task, Verdict

CUT_OFF = "length"


@dataclass(frozen=True, slots=True)
class UnfinishedFilter:
    """Looks at ``finish_reason``; it has no score."""

    name: str = "unfinished"

    def threshold(self, task: Task) -> str:
        """The finish reason that passes."""
        return "stop"

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject what was cut off."""
        return Verdict(self.name if rewrite.finish_reason == CUT_OFF else None)

    def judge_all(self, batch: Batch) -> Verdicts:
        """`judge` of every row."""
        import numpy as np

        return Verdicts(np.full(len(batch), np.nan), batch.among("finish_reason", (CUT_OFF,)))
