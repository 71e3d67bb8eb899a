"""Figures with intervals: resamples of images, the same for every model, so that differences are paired.

Every figure is a ratio of two sums over answers (a mean, a rate of invented objects, F1). Images are drawn with all
their questions (`evaluate.bootstrap` draws single samples); where a model has several files, its seeds are drawn too.
Intervals are percentiles, 95 %. P values of differences are two-sided, from the normal distribution with the standard
deviation of the resampled differences, and corrected by Holm over everything compared together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polite_flamingo.evaluate.bootstrap import LEVEL, Figure, resample_counts

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The two columns a figure is made of, of one file's answers to one set; shape (items,)."""

    numerator: Numbers
    denominator: Numbers


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """A figure and its resamples.

    Attributes:
        value: Of the answers themselves; NaN where nothing was measured.
        draws: Shape (resamples,).
        n: Answers it rests on.
    """

    value: float
    draws: Numbers
    n: int

    def to_json(self) -> Figure:
        """The figure with its interval, as evaluate.json has them."""
        if math.isnan(self.value):
            return Figure(value=None, low=None, high=None, n=self.n)
        low, high = interval(self.draws)
        return Figure(value=round(self.value, 6), low=round(low, 6), high=round(high, 6), n=self.n)


def interval(draws: Numbers) -> tuple[float, float]:
    """Percentile interval of resampled values."""
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.nanquantile(draws, [tail, 1.0 - tail])
    return float(low), float(high)


def clusters_of(names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number of the image of each item; an item without image is a cluster of its own."""
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(name or f"\0{i}", len(numbers)) for i, name in enumerate(names)], dtype=np.int64
    )


def resampled_sums(columns: Numbers, clusters: Any, *, resamples: int, seed: int, purpose: str) -> Numbers:
    """Sums of columns in each resample of the clusters.

    Args:
        columns: Shape (items, columns), no NaN.
        clusters: Number of the cluster of each item.
        resamples: How many.
        seed: The run's.
        purpose: Name of the set: everything measured on it shares its resamples.

    Returns:
        Shape (resamples, columns).
    """
    size = int(clusters.max()) + 1
    grouped = np.zeros((size, columns.shape[1]))
    np.add.at(grouped, clusters, columns)
    return np.concatenate([counts @ grouped for counts in resample_counts(size, resamples, seed, f"{purpose}:images")])


def draw_figures(
    ratios: Mapping[tuple[str, str], Sequence[Ratio]],
    clusters: Any,
    *,
    resamples: int,
    seed: int,
    purpose: str,
) -> dict[tuple[str, str], DrawnFigure]:
    """Every figure of one set, resampled together.

    Args:
        ratios: Model and figure -> one pair of columns per seed.
        clusters: As of `clusters_of`.
        resamples: Bootstrap resamples.
        seed: The run's.
        purpose: Name of the set.
    """
    flat = [column for pairs in ratios.values() for pair in pairs for column in (pair.numerator, pair.denominator)]
    if not flat:
        return {}
    columns = np.nan_to_num(np.stack(flat, axis=1))
    totals = columns.sum(axis=0)
    sums = resampled_sums(columns, clusters, resamples=resamples, seed=seed, purpose=purpose)
    drawn: dict[tuple[str, str], DrawnFigure] = {}
    start = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for key, pairs in ratios.items():
            stop = start + 2 * len(pairs)
            values = totals[start:stop:2] / totals[start + 1 : stop : 2]
            draws = sums[:, start:stop:2] / sums[:, start + 1 : stop : 2]
            n = int(sum(np.count_nonzero(~np.isnan(pair.numerator)) for pair in pairs))
            drawn[key] = DrawnFigure(float(values.mean()), _over_seeds(draws, seed, f"{purpose}:{key[0]}"), n)
            start = stop
    return drawn


def _over_seeds(draws: Numbers, seed: int, purpose: str) -> Numbers:
    """Mean over seeds, drawn with replacement in every resample where there are several."""
    resamples, seeds = draws.shape
    if seeds == 1:
        return draws[:, 0]
    times = np.concatenate(list(resample_counts(seeds, resamples, seed, f"{purpose}:seeds")))
    mean: Numbers = (draws * times).sum(axis=1) / seeds
    return mean


def mean_of(figures: Sequence[DrawnFigure]) -> DrawnFigure:
    """Mean over sets, which are resampled apart."""
    if len(figures) == 1:
        return figures[0]
    return DrawnFigure(
        float(np.mean([one.value for one in figures])),
        np.mean([one.draws for one in figures], axis=0),
        sum(one.n for one in figures),
    )


def difference(first: DrawnFigure, second: DrawnFigure) -> dict[str, Any]:
    """The first less the second on the same resamples: value, interval, p before correction."""
    draws = first.draws - second.draws
    value = first.value - second.value
    low, high = interval(draws)
    spread = float(np.nanstd(draws, ddof=1))
    p = math.erfc(abs(value) / spread / math.sqrt(2)) if spread > 0 else float(value == 0)
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6), "p": p}


def holm(values: Sequence[float]) -> list[float]:
    """P values corrected by Holm's step-down method for all of them together.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected = [0.0] * len(values)
    above = 0.0
    for rank, i in enumerate(order):
        above = max(above, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = above
    return corrected
