"""Mixtures of data (section 4.3): how much of each part an epoch holds.

Two ways, as in the authors' code: ``ratio`` takes the stated share of every part; ``sqrt`` (InstructBLIP, arXiv
2305.06500) draws as many samples in all, but from every data set in proportion to the square root of its size, so that
no large one drowns a small one.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from random import Random

from polite_flamingo.errors import ConfigError, did_you_mean


def ratio_counts(sizes: Mapping[str, int], ratios: Mapping[str, float]) -> dict[str, int]:
    """Number of samples that an epoch draws from every part.

    Args:
        sizes: Number of samples of every part.
        ratios: Share of a part that an epoch holds: 1.0 is all of it, 0.5 half, 1.5 all of it and another half.

    Raises:
        ConfigError: a ratio is negative or names no part.
    """
    for name, ratio in sorted(ratios.items()):
        if name not in sizes:
            raise ConfigError("a mixture names an unknown part", value=name, next_step=did_you_mean(name, sizes))
        if ratio < 0:
            raise ConfigError("a mixture's ratio is negative", value=ratio, where=name)
    return {name: round(ratio * sizes[name]) for name, ratio in ratios.items()}


def sqrt_counts(sizes: Mapping[str, int], weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Share `total` draws between data sets in proportion to weight x square root of size, to the sample exactly.

    Args:
        sizes: Number of samples of every data set.
        weights: Further factor of every data set (the ratio of its part); 0 leaves it out.
        total: Number of samples of an epoch.
    """
    shares = {name: weights[name] * math.sqrt(size) for name, size in sorted(sizes.items())}
    whole = sum(shares.values())
    if not whole:
        return dict.fromkeys(shares, 0)
    counts: dict[str, int] = {}
    reached, given = 0.0, 0
    for name, share in shares.items():
        reached += share
        counts[name] = round(total * reached / whole) - given
        given += counts[name]
    return counts


def draw(groups: Mapping[str, Sequence[int]], counts: Mapping[str, int], *, seed: int, epoch: int) -> array[int]:
    """One epoch's samples, shuffled; a pure function of its arguments.

    Args:
        groups: Positions of the samples of every part or data set.
        counts: Number to draw from every group: without replacement, another selection each epoch; where a group is
            smaller, all of it as often as it fits and a selection on top.
        seed: Decides draw and order.
        epoch: Likewise.
    """
    chosen = array("q")
    for name, count in sorted(counts.items()):
        items = groups[name]
        whole, rest = divmod(count, len(items)) if len(items) else (0, 0)
        for _ in range(whole):
            chosen.extend(items)
        chosen.extend(Random(f"{seed}:{epoch}:{name}:mixture").sample(items, rest))
    Random(f"{seed}:{epoch}:mixture").shuffle(chosen)
    return chosen
