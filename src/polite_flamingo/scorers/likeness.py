"""What tells whether answers are alike: the words they begin with, and MinHash signatures. Beyond the paper; no model.

A signature is 64 values of 16 bits; the share of equal values in two of them estimates the Jaccard similarity of the
texts' word trigrams. Equal texts have equal signatures on every machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from polite_flamingo.scorers.text import words_of

if TYPE_CHECKING:
    import numpy as np

VALUES = 64
BYTES = 2 * VALUES
SHINGLE = 3  # words
OPENING = 3  # words


def opening(text: str) -> str:
    """The first words of `text` in lower case, without punctuation."""
    return " ".join(words_of(text)[:OPENING])


def signatures(texts: Sequence[str]) -> list[bytes]:
    """MinHash signature of each text, `BYTES` long."""
    import numpy as np

    if not texts:
        return []
    sets = [shingles(text) for text in texts]
    starts = np.cumsum([0, *map(len, sets[:-1])])
    hashes = np.array([value for own in sets for value in own], dtype=np.uint64)
    factors, offsets = _permutations()
    values = np.empty((len(texts), VALUES), dtype="<u2")
    for i in range(VALUES):
        mixed = (hashes * factors[i] + offsets[i]) >> np.uint64(32)
        values[:, i] = np.minimum.reduceat(mixed, starts) & np.uint64(0xFFFF)
    return [row.tobytes() for row in values]


def shingles(text: str) -> list[int]:
    """32-bit hashes of the word trigrams of `text`; of all its words where there are fewer."""
    words = words_of(text)
    last = max(len(words) - SHINGLE, 0)
    return [zlib.crc32(" ".join(words[i : i + SHINGLE]).encode()) for i in range(last + 1)]


@cache
def _permutations() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import numpy as np

    random = np.random.Generator(np.random.PCG64(2307_01003))
    return random.integers(1, 2**63, VALUES, dtype=np.uint64) | np.uint64(1), random.integers(
        0, 2**63, VALUES, dtype=np.uint64
    )
