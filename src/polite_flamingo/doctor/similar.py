"""Perceptual hashes (imagehash), and pairs of them that differ in few bits without comparing all with all."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as PILImage

BITS = 64
DISTANCE = 4  # bits two hashes of the same picture may differ in
SIDE = 32  # pixels of the thumbnail the hash is made from, imagehash's own
FLAT = 2.0  # standard deviation of grey levels below which a picture is too even to be told from another
_BANDS = 6  # two hashes that differ in at most 4 bits agree in at least 2 of 6 bands


def perceptual_hash(image: PILImage) -> int | None:
    """64-bit hash of the lowest frequencies of a picture's grey levels; another size or quality gives a near one.

    imagehash's `phash` of a thumbnail made here: shrinking by `BOX` is four times as fast as imagehash's own, an even
    picture is told by the thumbnail, and deep grey levels are stretched instead of cut off. Colour does not count.
    Pictures that a program draws in front of one background can be near without being the same.

    Args:
        image: A picture of any mode.

    Returns:
        The hash, None for a picture so even that its hash would be noise.
    """
    import numpy as np
    from imagehash import phash
    from PIL.Image import Resampling

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        span = float(np.ptp(values)) or 1.0
        image = _grey((values - values.min()) * (255.0 / span))
    thumbnail = image.convert("L").resize((SIDE, SIDE), Resampling.BOX)
    if np.asarray(thumbnail).std() < FLAT:
        return None
    return int(str(phash(thumbnail)), 16)


def near_pairs(hashes: np.ndarray, distance: int = DISTANCE) -> np.ndarray:
    """Pairs of different `hashes` that differ in at most `distance` bits.

    The 64 bits are cut into six bands. Pairs that agree in some two bands meet in a bucket (about 21 bits each), and
    only those are compared: time grows with the number of hashes and of pairs that nearly agree.

    Args:
        hashes: Unsigned 64-bit integers (n,), each once.
        distance: At most 4, or the bands would miss pairs.

    Returns:
        Integers (pairs, 3): the two positions in `hashes`, the smaller first, and the number of bits they differ in.
    """
    import numpy as np

    if distance > _BANDS - 2:
        raise ValueError(f"the bands find pairs that differ in at most {_BANDS - 2} bits, not {distance}")
    edges = [round(band * BITS / _BANDS) for band in range(_BANDS + 1)]
    masks = [((1 << stop) - 1) ^ ((1 << start) - 1) for start, stop in itertools.pairwise(edges)]
    close_pairs: list[np.ndarray] = []
    for first, second in itertools.combinations(masks, 2):
        keys = hashes & np.uint64(first | second)
        order = np.argsort(keys, kind="stable")
        keys, ordered = keys[order], hashes[order]
        active, offset = np.arange(len(order) - 1), 1
        while len(active):  # each entry with the next one, the next but one … of its bucket
            active = active[active + offset < len(order)]
            active = active[keys[active] == keys[active + offset]]
            bits = np.bitwise_count(ordered[active] ^ ordered[active + offset])
            close = bits <= distance
            ends = np.sort(np.stack([order[active[close]], order[active[close] + offset]], axis=1), axis=1)
            close_pairs.append(np.concatenate([ends, bits[close, None].astype(np.int64)], axis=1))
            offset += 1
    pairs: np.ndarray = np.concatenate([np.empty((0, 3), np.int64), *close_pairs])
    return np.unique(pairs, axis=0)


def _grey(values: Any) -> PILImage:
    import numpy as np
    from PIL import Image as PILModule

    return PILModule.fromarray(values.astype(np.uint8))
