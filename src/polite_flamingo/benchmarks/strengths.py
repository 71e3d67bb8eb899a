"""Who is more polite: win rates of rewards, and Bradley-Terry strengths that explain all pairs by a number a model.

A strength s means: the odds of a higher reward than a model of strength t are exp(s - t). Ties count half to each; the
mean of all strengths is 0. Hunter's minorisation-maximisation (2004), for all resamples at once; choix, the library for
it, fits one data set at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from polite_flamingo.benchmarks.intervals import Numbers, interval, resampled_sums

ROUNDS = 2000
ENOUGH = 1e-8  # largest change of a strength in the last round
NEVER = 0.5  # wins added to both sides of every pair that was compared, so that who never wins has a strength too


def compare(
    rewards: Mapping[str, Numbers], clusters: Any, *, resamples: int, seed: int, purpose: str
) -> dict[str, Any]:
    """Win rates and strengths of models on the items of all of them.

    Args:
        rewards: Model -> reward of each item; NaN where there is none.
        clusters: Number of the image of each item.
        resamples: Bootstrap resamples of images.
        seed: The run's.
        purpose: Name of the set.

    Returns:
        ``order``, ``n``, ``matrix`` with ``low`` and ``high`` (row over column), and ``strengths`` by model.
    """
    order = list(rewards)
    everything = np.stack(list(rewards.values()))
    shared = ~np.isnan(everything).any(axis=0)
    table = everything[:, shared]
    n = int(shared.sum())
    if n == 0 or len(order) < 2:
        return {"order": order, "n": n}
    size = len(order)
    wins = (table[:, None] > table[None]) + 0.5 * (table[:, None] == table[None])
    flat = wins.reshape(size * size, n).T.astype(np.float64)
    _, own = np.unique(clusters[shared], return_inverse=True)
    drawn = resampled_sums(
        np.hstack([flat, np.ones((n, 1))]), own, resamples=resamples, seed=seed, purpose=f"{purpose}:wins"
    )
    rates = drawn[:, :-1] / drawn[:, -1:]
    tail = np.quantile(rates, [0.025, 0.975], axis=0).reshape(2, size, size)
    fitted = strengths(flat.sum(axis=0).reshape(1, size, size))[0]
    spread = strengths(drawn[:, :-1].reshape(-1, size, size))

    def rounded(grid: Numbers) -> list[list[float]]:
        return [[round(float(value), 6) for value in row] for row in grid]

    return {
        "order": order,
        "n": n,
        "matrix": rounded(flat.mean(axis=0).reshape(size, size)),
        "low": rounded(tail[0]),
        "high": rounded(tail[1]),
        "strengths": {
            name: {
                "value": round(float(fitted[i]), 6),
                **dict(zip(("low", "high"), (round(v, 6) for v in interval(spread[:, i])), strict=True)),
                "n": n,
            }
            for i, name in enumerate(order)
        },
    }


def strengths(wins: Numbers) -> Numbers:
    """Bradley-Terry strengths of many tables of wins.

    Args:
        wins: ``wins[k, i, j]``: how often i beat j in table k; shape (tables, models, models).

    Returns:
        Shape (tables, models), each row of mean 0.
    """
    size = wins.shape[1]
    off = ~np.eye(size, dtype=bool)
    won = np.where(off, wins + NEVER, 0.0)
    games = won + won.transpose(0, 2, 1)
    total = won.sum(axis=2)
    logs = np.zeros(wins.shape[:2])
    for _ in range(ROUNDS):
        powers = np.exp(logs)
        expected = (games / (powers[:, :, None] + powers[:, None, :])).sum(axis=2)
        fresh = np.log(total / expected)
        fresh -= fresh.mean(axis=1, keepdims=True)
        change = float(np.abs(fresh - logs).max())
        logs = fresh
        if change < ENOUGH:
            break
    return logs
