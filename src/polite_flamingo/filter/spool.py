"""Rows of a fixed width on the disk, and their partitions by a key: what is compared over all records needs no memory
for all of them.

Files have no name, so that nothing is left of a process that was killed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, np.dtype[np.void]]
    Keys = np.ndarray[Any, np.dtype[np.uint64]]

WORK = Path(".work")
ROWS = 200_000  # rows in memory at once
PARTITIONS = 500  # files open at once; above ROWS * PARTITIONS rows, partitions grow


class Spool:
    """Appended in blocks, read in blocks, in the same order.

    Args:
        layout: Type of a row, as NumPy describes it.
    """

    def __init__(self, layout: list[Any]) -> None:
        import numpy as np

        WORK.mkdir(exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=WORK)  # noqa: SIM115 - closed by `close`
        self.layout = layout
        self._dtype = np.dtype(layout)
        self.count = 0

    def add(self, rows: Rows) -> None:
        """Append rows."""
        self._file.write(rows.tobytes())
        self.count += len(rows)

    def blocks(self) -> Iterator[Rows]:
        """The rows, at most `ROWS` at a time."""
        import numpy as np

        self._file.seek(0)
        while data := self._file.read(ROWS * self._dtype.itemsize):
            yield np.frombuffer(data, self._dtype)

    def partitions(self, key: Callable[[Rows], Keys]) -> Iterator[Spool]:
        """The same rows in as many spools as it takes for each to hold about `ROWS`, rows of one key in one of them.

        A spool is good until the next is taken. A key of more rows than that makes its spool longer.
        """
        count = min(-(-self.count // ROWS), PARTITIONS)
        if count < 2:
            yield self
            return
        parts = [Spool(self.layout) for _ in range(count)]
        for block in self.blocks():
            for part, rows in zip(parts, split(block, key(block), count), strict=True):
                part.add(rows)
        for part in parts:
            yield part
            part.close()

    def close(self) -> None:
        """Free the disk."""
        self._file.close()


def split(rows: Rows, keys: Keys, count: int) -> list[Rows]:
    """Rows by a hash of their keys, in their order."""
    import numpy as np

    chosen = (keys * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) % np.uint64(count)
    order = np.argsort(chosen, kind="stable")
    return np.split(rows[order], np.searchsorted(chosen[order], np.arange(1, count)))


def whole(count: int, kind: str) -> np.ndarray[Any, Any]:
    """Zeros, one for each of `count` rows: in memory, or from `ROWS` on in a file that the system pages."""
    import numpy as np

    if count <= ROWS:
        return np.zeros(count, kind)
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=WORK) as file:
        return np.asarray(np.memmap(file, kind, "w+", shape=(count,)))
