"""Seeded draws by the hash of a name: exact, in any order of arrival, in memory that grows with what is drawn alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Keys = npt.NDArray[np.uint64]

LARGEST = 2**64 - 1


def key(name: str) -> int:
    """The first 64 bits of a name's hash; the names with the smallest keys are drawn."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def keys(names: Iterable[str]) -> Keys:
    """`key` of every name, in order."""
    import numpy as np

    sha256 = hashlib.sha256
    digests = b"".join([sha256(name.encode()).digest() for name in names])
    return np.frombuffer(digests, ">u8")[::4].astype(np.uint64)


class Smallest:
    """The smallest keys of a stream, each with a number of its own; 32 bytes per key that is wanted.

    Args:
        limit: Keys at most.

    Attributes:
        ceiling: No key above it is among the smallest any more.
    """

    def __init__(self, limit: int) -> None:
        import numpy as np

        self.ceiling = LARGEST if limit else -1
        self._limit = limit
        self._keys = np.empty(0, np.uint64)
        self._numbers = np.empty(0, np.int64)

    def __len__(self) -> int:
        return min(len(self._keys), self._limit)

    def add(self, keys: Keys | Sequence[int], numbers: Sequence[int] | None = None) -> None:
        """Look at more keys; without `numbers` they all have the number 0."""
        import numpy as np

        self._keys = np.concatenate([self._keys, np.asarray(keys, np.uint64)])
        more = np.zeros(len(keys), np.int64) if numbers is None else np.asarray(numbers, np.int64)
        self._numbers = np.concatenate([self._numbers, more])
        if len(self._keys) > 2 * self._limit:
            self._keys, self._numbers = self._smallest(self._limit)
            self.ceiling = int(self._keys.max(initial=0)) if self._limit else -1

    def bound(self, count: int) -> int:
        """The largest of the `count` smallest keys; -1 where there is none."""
        kept, _ = self._smallest(count)
        return int(kept.max()) if len(kept) else -1

    def numbers(self, count: int) -> list[int]:
        """Numbers of the `count` smallest keys, ascending."""
        return sorted(self._smallest(count)[1].tolist())

    def _smallest(self, count: int) -> tuple[Keys, npt.NDArray[np.int64]]:
        import numpy as np

        count = min(count, self._limit)
        if len(self._keys) <= count:
            return self._keys, self._numbers
        kept = np.argpartition(self._keys, count)[:count]
        return self._keys[kept], self._numbers[kept]
