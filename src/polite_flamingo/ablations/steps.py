"""From stage to stage of one recipe: what a step changes, paired by sample and seed, with two intervals.

The first interval is a bootstrap over samples: how sure the change is for the seeds that were trained. The second one
asks about seeds that were not: Student's t with one degree of freedom less than there are seeds, of a variance that
adds what differs between seeds to what differs between samples. A bootstrap over five seeds would be too narrow by a
third.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, variance
from typing import Any

from polite_flamingo.evaluate.bootstrap import LEVEL

STEPS = (("stage1", "stage2"), ("stage2", "stage3"), ("stage1", "stage3"))
Runs = Mapping[int, Mapping[str, float]]  # seed -> sample -> score


def step_name(before: str, after: str) -> str:
    """Key of a step in the summary."""
    return f"{before} to {after}"


def changes(before: Runs, after: Runs) -> dict[int, dict[str, float]]:
    """The differences of the seeds and samples that both have."""
    return {
        seed: {key: score - before[seed][key] for key, score in scores.items() if key in before[seed]}
        for seed, scores in after.items()
        if seed in before
    }


def over_seeds(runs: Runs) -> dict[str, Any]:
    """How a difference stands between seeds.

    Args:
        runs: The difference by seed and sample.

    Returns:
        ``falls`` and ``rises``, the numbers of seeds with a difference below and above zero, and ``low`` and ``high``
        of the interval over seeds and samples; None with a single seed or sample.
    """
    shared = sorted(set.intersection(*(set(scores) for scores in runs.values())))
    by_seed = [fmean(scores[key] for key in shared) for scores in runs.values()] if shared else []
    found: dict[str, Any] = {"falls": sum(mean < 0 for mean in by_seed), "rises": sum(mean > 0 for mean in by_seed)}
    if len(by_seed) < 2 or len(shared) < 2:
        return {**found, "low": None, "high": None}
    from scipy.stats import t

    by_sample = [fmean(scores[key] for scores in runs.values()) for key in shared]
    error = (variance(by_seed) / len(by_seed) + variance(by_sample) / len(by_sample)) ** 0.5
    reach = float(t.ppf((1 + LEVEL) / 2, len(by_seed) - 1)) * error
    return {**found, "low": round(fmean(by_seed) - reach, 6), "high": round(fmean(by_seed) + reach, 6)}
