"""Mixtures of data (section 4.3): how much of each part an epoch holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

from polite_flamingo.errors import ConfigError, did_you_mean

T = TypeVar("T")


def draw(parts: Mapping[str, Sequence[T]], ratios: Mapping[str, float], *, seed: int, epoch: int) -> list[T]:
    """One epoch's items, shuffled; a pure function of its arguments.

    Args:
        parts: The items of every part.
        ratios: Share of a part that an epoch holds, drawn without replacement: 1.0 is all of it, 0.5 half (another
            half each epoch), 1.5 all of it and another half.
        seed: Decides draw and order.
        epoch: Likewise.

    Raises:
        ConfigError: a ratio is negative or names no part.
    """
    chosen: list[T] = []
    for name, ratio in sorted(ratios.items()):
        if name not in parts:
            raise ConfigError("a mixture names an unknown part", value=name, next_step=did_you_mean(name, parts))
        if ratio < 0:
            raise ConfigError("a mixture's ratio is negative", value=ratio, where=name)
        items = parts[name]
        whole, rest = divmod(round(ratio * len(items)), len(items)) if items else (0, 0)
        chosen += list(items) * whole
        chosen += Random(f"{seed}:{epoch}:{name}:mixture").sample(items, rest)
    Random(f"{seed}:{epoch}:mixture").shuffle(chosen)
    return chosen
