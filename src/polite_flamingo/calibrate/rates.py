"""Rates with bootstrap intervals, and what follows from two rates and a prevalence.

Everything said about a filter follows from two rates: the recall (share of the corrupted records it catches) and the
cost (share of the clean ones it takes). Precision and the corrupted share of what is kept also depend on how many
records are corrupted in the first place (the prevalence), which injected errors do not tell. The bootstrap draws groups
of records (a text with its corrupted copy), percentile intervals, 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.bootstrap import LEVEL, NOTHING, Interval, resample_counts

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]

CURVE_POINTS = 200  # of a curve kept for plots and JSON


@dataclass(frozen=True)
class Resamples:
    """How often each record counts: row 0 once each, then a row per bootstrap resample; shape (1 + resamples, n)."""

    weights: Floats

    @classmethod
    def draw(cls, groups: Sequence[str], *, resamples: int, seed: int, purpose: str) -> Resamples:
        """Draw groups with replacement; records of a group come together."""
        import numpy as np

        if not groups:
            return cls(np.ones((1, 0)))
        _, positions = np.unique(np.asarray(groups), return_inverse=True)
        drawn = [counts[:, positions] for counts in resample_counts(int(positions.max()) + 1, resamples, seed, purpose)]
        return cls(np.concatenate([np.ones((1, len(groups))), *drawn]))

    def rate(self, hit: Mask, among: Mask) -> Floats:
        """Share of `among` that is `hit`, per row; NaN where a resample holds none."""
        import numpy as np

        whole = self.weights[:, among].sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            value: Floats = self.weights[:, among & hit].sum(axis=1) / whole
        return value


def interval(values: Floats, n: int) -> Interval:
    """Row 0 with the interval of the others; resamples without a value are left out."""
    import numpy as np

    rest = values[1:][~np.isnan(values[1:])]
    if n == 0 or np.isnan(values[0]):
        return NOTHING
    if not len(rest):
        return Interval(float(values[0]), None, None, n)
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(rest, [tail, 1.0 - tail])
    return Interval(float(values[0]), float(low), float(high), n)


def precision(recall: Floats, cost: Floats, prevalence: Floats | float) -> Floats:
    """Share of what is taken that is corrupted; NaN where nothing is taken."""
    import numpy as np

    right = prevalence * recall
    with np.errstate(invalid="ignore", divide="ignore"):
        value: Floats = right / (right + (1.0 - prevalence) * cost)
    return value


def corrupted_after(recall: Floats, cost: Floats, prevalence: Floats | float) -> Floats:
    """Share of what is kept that is corrupted; NaN where nothing is kept."""
    import numpy as np

    wrong = prevalence * (1.0 - recall)
    with np.errstate(invalid="ignore", divide="ignore"):
        value: Floats = wrong / (wrong + (1.0 - prevalence) * (1.0 - cost))
    return value


@dataclass(frozen=True, slots=True)
class Curve:
    """How well a score tells corrupted from clean records.

    Args:
        auc: Area under the ROC curve; 0.5 is chance.
        average_precision: Area under the precision-recall curve at the prevalence of the records.
        thresholds: Suspicions, at most `CURVE_POINTS`, from the highest on; records at least as suspicious are taken.
        recall: Of the corrupted, at each threshold.
        cost: Share of the clean, at each threshold.
        precision: At each threshold.
        corrupted: Number of corrupted records with a score.
        clean: Number of clean ones.
    """

    auc: Interval
    average_precision: Interval
    thresholds: tuple[float, ...]
    recall: tuple[float, ...]
    cost: tuple[float, ...]
    precision: tuple[float, ...]
    corrupted: int
    clean: int


def curve(suspicion: Floats, corrupted: Mask, draws: Resamples, prevalence: float | None = None) -> Curve | None:
    """ROC and precision-recall curve of a score.

    Args:
        suspicion: Higher is worse, NaN where the score does not apply; shape (n,).
        corrupted: The truth.
        draws: Of the same records.
        prevalence: Share of corrupted records assumed; None: that of the records with a score.

    Returns:
        None where one of the two classes has no score.
    """
    import numpy as np

    applies = ~np.isnan(suspicion)
    wrong, right = int((applies & corrupted).sum()), int((applies & ~corrupted).sum())
    if not wrong or not right:
        return None
    order = np.argsort(-suspicion[applies], kind="stable")
    values, truth = suspicion[applies][order], corrupted[applies][order]
    weights = draws.weights[:, applies][:, order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # ties are taken together
    recall, cost = (_cumulated(weights * chosen, last) for chosen in (truth, ~truth))
    share = wrong / (wrong + right) if prevalence is None else prevalence
    exact = precision(recall, cost, share)
    zero = np.zeros((len(recall), 1))
    steps_up, steps_right = np.diff(recall, axis=1, prepend=zero), np.diff(cost, axis=1, prepend=zero)
    before = np.concatenate([zero, recall[:, :-1]], axis=1)
    areas = ((recall + before) / 2 * steps_right).sum(axis=1)
    averages = np.nansum(exact * steps_up, axis=1)
    averages[np.isnan(recall[:, -1])] = np.nan
    points = np.unique(np.linspace(0, len(last) - 1, min(CURVE_POINTS, len(last))).astype(int))
    return Curve(
        interval(areas, wrong + right),
        interval(averages, wrong + right),
        tuple(np.round(values[last][points], 4).tolist()),
        tuple(np.round(recall[0, points], 4).tolist()),
        tuple(np.round(cost[0, points], 4).tolist()),
        tuple(np.round(exact[0, points], 4).tolist()),
        wrong,
        right,
    )


def _cumulated(weights: Floats, last: Ints) -> Floats:
    """Share of the weight of each row up to each of `last`; NaN for rows without weight."""
    import numpy as np

    sums = np.cumsum(weights, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        value: Floats = sums[:, last] / sums[:, -1:]
    return value
