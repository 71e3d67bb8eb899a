"""What filters of our own share: a column that must not exceed a limit; a limit of None switches one off."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.records import Task
from polite_flamingo.settings import Settings


class LimitFilter(Settings, ABC):
    """Looks at one column of the text that the paragraph step leaves.

    Attributes:
        name: The filter's name.
        title: The same for readers.
        axis: What its score is, for readers.
        column: The column it reads.
        quantity: What is counted, for the reason.
        decimals: Digits shown of the score.
    """

    inline: ClassVar[bool] = True
    name: ClassVar[str]
    title: ClassVar[str]
    axis: ClassVar[str]
    column: ClassVar[str]
    quantity: ClassVar[str]
    decimals: ClassVar[int] = 0

    @property
    @abstractmethod
    def limit(self) -> float | None:
        """Largest value that passes; None rejects nothing."""

    def threshold(self, task: Task) -> float | None:
        """What the score is compared with."""
        return self.limit

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject a value above the limit."""
        score = batch.number(self.column)
        return Verdicts(score, score > (float("inf") if self.limit is None else self.limit))

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        score = batch.number(self.column)[row]
        return f"{self.name}: {score:.{self.decimals}f} {self.quantity}, more than {self.limit}"
