"""Joining two annotation files on a key without holding either in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple

from polite_flamingo.errors import DataError

WINDOW = 10_000  # records of the left side kept in memory


class Pair(NamedTuple):
    """One result of `join`: both sides, or one that found no partner.

    Args:
        left: Record of the left side, None if there is none for `right`.
        right: Record of the right side, None if there is none for `left`.
        problem: Why the record has no key, where that is the reason.
    """

    left: Any
    right: Any
    problem: DataError | None = None


def join(
    left: Iterable[Any],
    right: Iterable[Any],
    key_left: Callable[[Any], Hashable],
    key_right: Callable[[Any], Hashable],
    *,
    window: int = WINDOW,
) -> Iterator[Pair]:
    """Join two streams of records on a key, in the order of `right`; partnerless left records follow as they are met.

    Files that are in about the same order need the window alone. What of `left` does not fit into it goes to a
    temporary database on disk, which vanishes with the process, so memory is bounded and time grows with the number of
    records whatever their order. Every record of both sides comes out exactly once. Of records with the same key, the
    first left one joins the first right one, the second the second; what one side has more of has no partner.

    Args:
        left: Records, JSON values.
        right: Records.
        key_left: Key of a left record, a JSON scalar; raises `DataError` where there is none.
        key_right: Key of a right record, likewise.
        window: Left records kept in memory.

    Raises:
        DataError: the temporary database cannot be written.
    """
    with closing(_Far()) as far:
        unpaired = _Unpaired(left, key_left, window, far)
        try:
            for record in right:
                try:
                    key = key_right(record)
                except DataError as problem:
                    yield Pair(None, record, problem)
                else:
                    partner = yield from unpaired.partner(key)
                    yield Pair(partner, record)
            yield from (Pair(record, None) for record in far.rest())
        except sqlite3.Error as error:
            hint = "see that the disk of the temporary files has room (TMPDIR)"
            raise DataError("annotations cannot be joined on disk", value=str(error), next_step=hint) from None
    yield from unpaired.rest()


class _Unpaired:
    """The left side: records that came before their partners, those last come in memory, and those still to come."""

    def __init__(self, records: Iterable[Any], key: Callable[[Any], Hashable], window: int, far: _Far) -> None:
        self._coming = iter(records)
        self._key = key
        self._window = window
        self._far = far
        self._near: dict[Hashable, list[Any]] = {}  # in the order in which they came
        self._count = 0  # records in it

    def partner(self, key: Hashable) -> Generator[Pair, None, Any]:
        """Return the first record of a key, None if there is none; records without a key are yielded on the way."""
        partner = self._far.take(key)
        if partner is None and key in self._near:
            partner = self._near[key].pop(0)
            self._count -= 1
            if not self._near[key]:
                del self._near[key]
        while partner is None and (candidate := next(self._coming, None)) is not None:
            try:
                own = self._key(candidate)
            except DataError as problem:
                yield Pair(candidate, None, problem)
                continue
            if own == key:
                return candidate
            self._keep(own, candidate)
        return partner

    def rest(self) -> Iterator[Pair]:
        """What found no partner, but for what went to the disk."""
        for records in self._near.values():
            yield from (Pair(record, None) for record in records)
        for record in self._coming:
            try:
                self._key(record)
            except DataError as problem:
                yield Pair(record, None, problem)
            else:
                yield Pair(record, None)

    def _keep(self, key: Hashable, record: Any) -> None:
        self._near.setdefault(key, []).append(record)
        self._count += 1
        if self._count > self._window:
            for oldest in list(islice(self._near, len(self._near) // 2 + 1)):
                self._count -= len(self._near[oldest])
                self._far.put(oldest, self._near.pop(oldest))


class _Far:
    """Left records that the window has no room for, in a private temporary database."""

    def __init__(self) -> None:
        self._taken = bytearray()  # one per record, by its number
        self._base: sqlite3.Connection | None = None

    def put(self, key: Hashable, records: list[Any]) -> None:
        """Store the records of a key; they came later than those stored for it before."""
        if self._base is None:
            self._base = sqlite3.connect("", isolation_level=None)  # "": on disk, without a name
            self._base.execute("PRAGMA journal_mode = OFF")
            self._base.execute("PRAGMA synchronous = OFF")
            self._base.execute("PRAGMA cache_size = -16384")  # KiB
            self._base.execute("CREATE TABLE far (number INTEGER PRIMARY KEY, key TEXT, record TEXT)")
            self._base.execute("CREATE INDEX by_key ON far (key)")
            self._base.execute("BEGIN")  # never committed: nobody else reads it
        for record in records:
            row = (len(self._taken), json.dumps(key), json.dumps(record))
            self._base.execute("INSERT INTO far VALUES (?, ?, ?)", row)
            self._taken.append(0)

    def take(self, key: Hashable) -> Any:
        """The first record of a key that was not taken yet, else None."""
        if self._base is None:
            return None
        query = "SELECT number, record FROM far WHERE key = ? ORDER BY number"
        for number, record in self._base.execute(query, (json.dumps(key),)):
            if not self._taken[number]:
                self._taken[number] = 1
                return json.loads(record)
        return None

    def rest(self) -> Iterator[Any]:
        """The records never taken, in their order."""
        if self._base is not None:
            for number, record in self._base.execute("SELECT number, record FROM far ORDER BY number"):
                if not self._taken[number]:
                    yield json.loads(record)

    def close(self) -> None:
        """Drop the database."""
        if self._base is not None:
            self._base.close()
