"""Templates: answers of a source that all begin alike; beyond the paper, which criticises M3IT for its templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Floats, Ints, Mask


class TemplateFilter(Settings):
    """Looks at the share of a source that begins as an answer does; the first ones stay, as many as may."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "template"
    title: ClassVar[str] = "Template"
    axis: ClassVar[str] = "Share of its source that begins alike, where all others keep it"

    max_share: float | None = Field(None, gt=0, le=1, description="ours; null: off")

    @property
    def limit(self) -> float | None:
        """Largest share that passes; None rejects nothing."""
        return self.max_share

    def judge(self, source: Ints, rank: Ints) -> Mask:
        """Which answers are rejected; shape (answers,).

        Args:
            source: Code of each answer's source.
            rank: How many answers of its source with the same beginning came before it.
        """
        import numpy as np

        if self.max_share is None:
            return np.zeros(len(rank), dtype=bool)
        return rank >= np.floor(self.max_share * np.bincount(source))[source]

    def reason(self, score: float) -> str:
        """Why an answer with this score is rejected."""
        return f"{self.name}: share of the source that begins alike {score:.4f}, above {self.max_share}"


def opening_shares(source: Ints, opened: Ints, phrases: int) -> tuple[Floats, Ints]:
    """Share of its source that begins as each answer does, and how many such came before it."""
    import numpy as np

    key = source * max(phrases, 1) + opened
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0][: len(order)])
    counts = np.diff(np.r_[starts, len(order)])
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(starts, counts)
    count = np.empty(len(key))
    count[order] = np.repeat(counts, counts)
    return count / np.bincount(source)[source] if len(source) else count, rank
