"""Templates: answers of a source that all begin alike; beyond the paper, which criticises M3IT for its templates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Floats, Ints, Mask
    from polite_flamingo.filter.spool import Keys, Spool


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

    def judge(self, rank: Ints, size: int) -> Mask:
        """Which answers are rejected; shape (answers,).

        Args:
            rank: How many answers of the source with the same beginning came before each.
            size: Answers of the source.
        """
        import numpy as np

        if self.max_share is None:
            return np.zeros(len(rank), dtype=bool)
        return rank >= np.floor(self.max_share * size)

    def reason(self, score: float) -> str:
        """Why an answer with this score is rejected."""
        return f"{self.name}: share of the source that begins alike {score:.4f}, above {self.max_share}"


OPENINGS = 3  # commonest openings that are named
LAYOUT = [("row", "i8"), ("opening", "u8"), ("left", "?")]  # left: a template is looked for among these


def opening_key(phrase: str) -> int:
    """64 bits that stand for an opening."""
    return int.from_bytes(hashlib.blake2b(phrase.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Opened:
    """Answers of a source, of some of its openings.

    Args:
        row: Of the score table.
        share: Of the source, among those left, that begins as each does.
        rank: How many of those left that begin alike came before it.
    """

    row: Ints
    share: Floats
    rank: Ints


class Openings:
    """How often the answers of a source begin alike, counted in partitions that fit into memory.

    Args:
        rows: Its answers, as in `LAYOUT`.
    """

    def __init__(self, rows: Spool) -> None:
        self._rows = rows
        self.common: list[tuple[int, int]] = []  # how often, and the row where it is first said; the most common first

    def shares(self, left: int) -> Iterator[Opened]:
        """Streams what is left of the source, in no particular order, and finds what is common in all of it.

        Args:
            left: Number of answers left.
        """
        import numpy as np

        for part in self._rows.partitions(lambda block: block["opening"]):
            keys, first, count, among_left = _count(part)
            best = np.lexsort((first, -count))[:OPENINGS]
            found = [*self.common, *zip(count[best].tolist(), first[best].tolist(), strict=True)]
            self.common = sorted(found, key=lambda one: (-one[0], one[1]))[:OPENINGS]
            before = np.zeros(len(keys), np.int64)
            for block in part.blocks():
                rows = block[block["left"]]
                code = np.searchsorted(keys, rows["opening"])
                rank = before[code] + _rank(code)
                before += np.bincount(code, minlength=len(keys))
                yield Opened(rows["row"], among_left[code] / max(left, 1), rank)


def _count(part: Spool) -> tuple[Keys, Ints, Ints, Ints]:
    """The openings, sorted: key, row where it comes first, how often in all, how often among what is left."""
    import numpy as np

    none = np.empty(0, np.int64)
    known: tuple[Keys, Ints, Ints, Ints] = np.empty(0, np.uint64), none, none, none
    for block in part.blocks():
        once = np.ones(len(block), np.int64)
        pieces = (block["opening"], block["row"], once, block["left"].astype(np.int64))
        keys, rows, counts, left = (np.concatenate(pair) for pair in zip(known, pieces, strict=True))
        unique, index, code = np.unique(keys, return_index=True, return_inverse=True)
        often, often_left = (
            np.bincount(code, weights=values, minlength=len(unique)).astype(np.int64) for values in (counts, left)
        )
        known = unique, rows[index], often, often_left
    return known


def _rank(code: Ints) -> Ints:
    """How many equal codes come before each."""
    import numpy as np

    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(code[order]) != 0][: len(order)])
    rank = np.empty(len(code), np.int64)
    rank[order] = np.arange(len(code)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return rank
