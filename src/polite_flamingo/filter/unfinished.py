"""Unfinished filter: a rewrite that ran into the token limit stops in the middle of a sentence. Ours."""

from __future__ import annotations

from typing import ClassVar

from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.records import Task
from polite_flamingo.settings import Settings

CUT_OFF = "length"


class UnfinishedFilter(Settings):
    """Looks at ``finish_reason``; it has no score and nothing to set."""

    name: ClassVar[str] = "unfinished"
    title: ClassVar[str] = "Unfinished"
    axis: ClassVar[str] = "The model stopped for want of room"

    def threshold(self, task: Task) -> str:
        """The finish reason that passes."""
        return "stop"

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject what was cut off."""
        import numpy as np

        return Verdicts(np.full(len(batch), np.nan), batch.among("finish_reason", (CUT_OFF,)))

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        return self.name
