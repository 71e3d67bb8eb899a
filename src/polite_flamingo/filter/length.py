"""Length filter: too short says nothing, too long rambles. Figure 10 names it; the bounds are ours."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.records import Task
from polite_flamingo.settings import Settings


class LengthFilter(Settings):
    """Looks at ``words``, counted before the paragraph step; bounds included."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "length"
    title: ClassVar[str] = "Length"
    axis: ClassVar[str] = "Words"

    min_words: int = Field(3, ge=0, description="ours")
    max_words: int = Field(400, gt=0, description="ours")

    def threshold(self, task: Task) -> list[int]:
        """What the score is compared with."""
        return [self.min_words, self.max_words]

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject what has fewer than `min_words` or more than `max_words`."""
        words = batch.number("words")
        return Verdicts(words, (words < self.min_words) | (words > self.max_words))

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        words = batch.number("words")[row]
        bound = f"fewer than {self.min_words}" if words < self.min_words else f"more than {self.max_words}"
        return f"length: {words:.0f} words, {bound}"
