"""Near-duplicates of *earlier* answers of the source, so that of several alike the first stays; beyond the paper."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from polite_flamingo.scorers.likeness import VALUES
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from polite_flamingo.filter.columns import Floats, Ints, Mask
    from polite_flamingo.filter.spool import Keys, Rows, Spool

    Equal = np.ndarray[Any, np.dtype[np.uint8]]
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
        """Which answers are rejected, by their `equal_values` over all; shape (answers,)."""
        return similar > (float("inf") if self.max_similarity is None else self.max_similarity)

    def reason(self, score: float) -> str:
        """Why an answer with this score is rejected."""
        return f"{self.name}: similarity with an earlier answer {score:.4f}, above {self.max_similarity}"


def equal_values(rows: Spool) -> Equal:
    """How much each answer of a source is like the most similar earlier one that shares a band of its signature: values
    of the signatures that are equal, of `VALUES`.

    Each run of equal bands is compared with its first answer alone, so that time grows with n log n. Bands are taken
    one at a time, in partitions that fit into memory; what stays in memory is a byte for each answer.

    Args:
        rows: The answers with ``number``, their position in the source, and ``signature``.
    """
    import numpy as np

    equal = np.zeros(rows.count, np.uint8)
    for band in range(VALUES // BAND):
        for part in rows.partitions(partial(_band, band=band)):
            firsts = _Firsts()
            for block in part.blocks():
                _compare(block, _band(block, band), firsts, equal, last=len(block) == part.count)
    return equal


class _Firsts:
    """The first answer of each band seen so far, by the value of the band."""

    def __init__(self) -> None:
        import numpy as np

        self.keys = np.empty(0, np.uint64)
        self.signed: Signatures = np.empty((0, VALUES), np.uint16)

    def find(self, keys: Keys) -> tuple[Ints, Mask]:
        """Where each key stands, and whether it is there at all."""
        import numpy as np

        place = np.searchsorted(self.keys, keys)
        there = place < len(self.keys)
        there[there] = self.keys[place[there]] == keys[there]
        return place, there

    def add(self, keys: Keys, signed: Signatures) -> None:
        """Take keys that are not there."""
        import numpy as np

        keys = np.concatenate([self.keys, keys])
        order = np.argsort(keys)
        self.keys, self.signed = keys[order], np.concatenate([self.signed, signed])[order]


def _compare(block: Rows, keys: Keys, firsts: _Firsts, equal: Equal, *, last: bool) -> None:
    """Compare each answer with the first of its band, here or in an earlier block."""
    import numpy as np

    signed = block["signature"]
    order = np.argsort(keys, kind="stable")  # earlier answers first
    starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) != 0])
    place, there = firsts.find(keys[order[starts]])
    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    first = order[starts]
    pairs = np.flatnonzero((order != first[group]) | there[group])
    for part in np.array_split(pairs, len(pairs) // 100_000 + 1):
        later, groups = order[part], group[part]
        earlier = signed[first[groups]]
        earlier[there[groups]] = firsts.signed[place[groups][there[groups]]]
        number = block["number"][later]
        equal[number] = np.maximum(equal[number], (signed[later] == earlier).sum(axis=1, dtype=np.uint8))
    if not last:
        firsts.add(keys[first[~there]], signed[first[~there]])


def _band(block: Rows, band: int) -> Keys:
    import numpy as np

    return np.ascontiguousarray(block["signature"][:, BAND * band : BAND * (band + 1)]).view(np.uint64)[:, 0]
