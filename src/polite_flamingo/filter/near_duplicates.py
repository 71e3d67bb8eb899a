"""Near-duplicates of *earlier* answers of the source, so that of several alike the first stays; beyond the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from polite_flamingo.scorers.likeness import VALUES
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from polite_flamingo.filter.columns import Floats, Ints, Mask

    Signatures = np.ndarray[Any, np.dtype[np.uint16]]

BAND = 4  # values that must agree for two signatures to be compared


class NearDuplicateFilter(Settings):
    """Looks at the MinHash similarity of each answer with the most similar earlier one of its source."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "near_duplicate"
    title: ClassVar[str] = "Near-duplicate"
    axis: ClassVar[str] = "Similarity with an earlier answer of its source, where all others keep it"

    max_similarity: float | None = Field(None, ge=0, le=1, description="ours; MinHash similarity; null: off")

    @property
    def limit(self) -> float | None:
        """Largest similarity that passes; None rejects nothing."""
        return self.max_similarity

    def judge(self, similar: Floats) -> Mask:
        """Which answers are rejected, by what `similarities` gave; shape (answers,)."""
        return similar > (float("inf") if self.max_similarity is None else self.max_similarity)

    def reason(self, score: float) -> str:
        """Why an answer with this score is rejected."""
        return f"{self.name}: similarity with an earlier answer {score:.4f}, above {self.max_similarity}"


def similarities(signed: Signatures, source: Ints) -> Floats:
    """Similarity of each answer with the most similar earlier one of its source that shares a band of its signature.

    Each run of equal bands is compared with its first answer alone, so that time grows with n log n.

    Args:
        signed: uint16, shape (answers, `VALUES`).
        source: Code of each answer's source, shape (answers,).
    """
    import numpy as np

    best = np.zeros(len(signed))
    bands = np.ascontiguousarray(signed).view(np.uint64)
    for band in range(VALUES // BAND):
        order = np.lexsort((bands[:, band], source))  # stable: earlier answers first
        keys, groups = bands[order, band], source[order]
        starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]) | (groups[1:] != groups[:-1])][: len(order)])
        first = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
        pairs = np.flatnonzero(order != first)
        for part in np.array_split(pairs, len(pairs) // 100_000 + 1):
            later, earlier = order[part], first[part]
            best[later] = np.maximum(best[later], (signed[later] == signed[earlier]).mean(axis=1))
    return best
