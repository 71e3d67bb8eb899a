"""How well people agree: Krippendorff's alpha and Cohen's kappa of the labels they gave alone, with intervals.

The coefficients are nltk's and scikit-learn's. Their intervals are percentile bootstraps over samples, so that the
answers of one sample stay together; both coefficients depend on sums over samples alone (coincidences, a confusion
matrix), which are drawn in one product of matrices. A test compares these formulas with the libraries.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.bootstrap import LEVEL, NOTHING, Interval, resample_counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Ratings = Mapping[tuple[str, int], Mapping[str, str]]  # (sample, answer) -> annotator -> label


def krippendorff_alpha(ratings: Ratings, *, resamples: int, seed: int) -> Interval:
    """Alpha of nominal labels, of any number of annotators who labelled what they labelled.

    Args:
        ratings: Who gave which label.
        resamples: Bootstrap resamples of samples.
        seed: Seed.

    Returns:
        `NOTHING` without an answer that two labelled; a value of None where all labels are the same.
    """
    import numpy as np
    from nltk.metrics.agreement import AnnotationTask

    shared = {unit: own for unit, own in ratings.items() if len(own) > 1}
    if not shared:
        return NOTHING
    labels = sorted({label for own in shared.values() for label in own.values()})
    if len(labels) == 1:
        return Interval(None, None, None, len(shared))
    triples = [(who, str(unit), label) for unit, own in shared.items() for who, label in own.items()]
    value = float(AnnotationTask(triples).alpha())
    by_sample: dict[str, Array] = defaultdict(partial(np.zeros, (len(labels), len(labels))))
    for (sample, _), own in shared.items():
        counts = np.array([Counter(own.values())[label] for label in labels], dtype=float)
        by_sample[sample] += (np.outer(counts, counts) - np.diag(counts)) / (counts.sum() - 1)
    return _drawn(value, list(by_sample.values()), len(shared), _alpha, resamples, seed, "alpha")


def cohen_kappas(ratings: Ratings, *, resamples: int, seed: int) -> dict[tuple[str, str], Interval]:
    """Kappa of every two annotators over the answers both labelled.

    Args:
        ratings: Who gave which label.
        resamples: Bootstrap resamples of samples.
        seed: Seed.
    """
    import numpy as np
    from sklearn.metrics import cohen_kappa_score

    names = sorted({who for own in ratings.values() for who in own})
    kappas: dict[tuple[str, str], Interval] = {}
    for one, other in combinations(names, 2):
        both = {unit: (own[one], own[other]) for unit, own in ratings.items() if one in own and other in own}
        labels = sorted({label for pair in both.values() for label in pair})
        if not both:
            continue
        if len(labels) == 1:
            kappas[one, other] = Interval(None, None, None, len(both))
            continue
        value = float(cohen_kappa_score(*zip(*both.values(), strict=True)))
        by_sample: dict[str, Array] = defaultdict(partial(np.zeros, (len(labels), len(labels))))
        for (sample, _), pair in both.items():
            by_sample[sample][labels.index(pair[0]), labels.index(pair[1])] += 1
        found = _drawn(value, list(by_sample.values()), len(both), _kappa, resamples, seed, f"kappa:{one}:{other}")
        kappas[one, other] = found
    return kappas


def _drawn(
    value: float, tables: Sequence[Array], units: int, coefficient: Any, resamples: int, seed: int, purpose: str
) -> Interval:
    """`value` with the percentiles of `coefficient` over resampled sums of `tables`; undefined draws do not count."""
    import numpy as np

    stacked = np.stack(tables)
    size = stacked.shape[1]
    flat = stacked.reshape(len(tables), -1)
    sums = np.concatenate([counts @ flat for counts in resample_counts(len(tables), resamples, seed, purpose)])
    values = coefficient(sums.reshape(-1, size, size))
    values = values[np.isfinite(values)]
    if not values.size:
        return Interval(value, None, None, units)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(value, float(low), float(high), units)


def _alpha(tables: Array) -> Array:
    """Krippendorff's alpha of coincidence matrices, the first axis counting them."""
    import numpy as np

    totals = tables.sum(axis=2)
    n = totals.sum(axis=1)
    same = np.trace(tables, axis1=1, axis2=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - (n - 1) * (n - same) / (n**2 - (totals**2).sum(axis=1))


def _kappa(tables: Array) -> Array:
    """Cohen's kappa of confusion matrices, the first axis counting them."""
    import numpy as np

    n = tables.sum(axis=(1, 2))
    observed = np.trace(tables, axis1=1, axis2=2) / n
    expected = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / n**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (observed - expected) / (1 - expected)


def rank_agreement(
    places: Mapping[str, Mapping[str, Sequence[Sequence[int]]]], *, resamples: int, seed: int
) -> Interval:
    """Mean Kendall tau-b of the places that every two annotators gave to the answers of a sample.

    Args:
        places: Sample -> annotator -> answers by place.
        resamples: Bootstrap resamples of samples.
        seed: Seed.
    """
    from polite_flamingo.evaluate.bootstrap import bootstrap_mean

    taus = [
        tau
        for own in places.values()
        for one, other in combinations(sorted(own), 2)
        if (tau := kendall(ranks(own[one]), ranks(own[other]))) is not None
    ]
    return bootstrap_mean(taus, resamples=resamples, seed=seed, purpose="ranking") if taus else NOTHING


def ranks(places: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Place of each answer, by its number.

    >>> ranks([[2], [0, 1]])
    (1.0, 1.0, 0.0)
    """
    place = {slot: float(index) for index, own in enumerate(places) for slot in own}
    return tuple(place[slot] for slot in sorted(place))


@lru_cache(maxsize=10_000)  # scipy takes a millisecond, and few places differ
def kendall(one: tuple[float, ...], other: tuple[float, ...]) -> float | None:
    """Kendall's tau-b; None where one of them ties everything."""
    from scipy.stats import kendalltau

    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(kendalltau(one, other).statistic)
