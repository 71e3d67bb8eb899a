"""Politeness (section 5): the reward model's score of an answer, and who beats whom.

The reward is not normalised and has no unit: compare rewards of one reward model only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.bootstrap import bootstrap_means

TIE = 0.5


@dataclass(frozen=True, slots=True)
class WinRates:
    """Share of samples on which the row's reward beats the column's; ties count half, the diagonal is 0.5.

    Attributes:
        order: Names of rows and columns.
        matrix: ``matrix[i][j]`` is the win rate of ``order[i]`` over ``order[j]``.
        low: Lower ends of the 95 % intervals.
        high: Upper ends.
        n: Samples compared.
    """

    order: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain lists for evaluate.json, rounded to six decimals."""
        grids = {"matrix": self.matrix, "low": self.low, "high": self.high}
        rounded = {name: [[round(v, 6) for v in row] for row in grid] for name, grid in grids.items()}
        return {"order": list(self.order), "n": self.n, **rounded}


def win_rates(
    rewards: Mapping[str, Mapping[str, float]], order: Sequence[str], *, resamples: int, seed: int
) -> WinRates:
    """Compare every pair of answerers on the samples all of them answered.

    Args:
        rewards: Answerer -> sample id -> reward.
        order: Answerers, in the order of rows and columns.
        resamples: Bootstrap resamples.
        seed: The run's seed.

    Raises:
        DataError: no sample was answered by all.
    """
    import numpy as np

    shared = sorted(set.intersection(*(set(rewards[name]) for name in order)))
    if not shared:
        raise DataError(
            "no sample was answered by every model", value=list(order), next_step="run `polite-flamingo evaluate` again"
        )
    table = np.array([[rewards[name][key] for key in shared] for name in order])
    above = (table[:, None, :] > table[None, :, :]).astype(np.float64)
    wins = above + TIE * (table[:, None, :] == table[None, :, :])
    size = len(order)
    cells = bootstrap_means(wins.reshape(size * size, -1), resamples=resamples, seed=seed, purpose="win_rate")

    def grid(part: str) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(getattr(cells[i * size + j], part) for j in range(size)) for i in range(size))

    return WinRates(tuple(order), grid("value"), grid("low"), grid("high"), len(shared))
