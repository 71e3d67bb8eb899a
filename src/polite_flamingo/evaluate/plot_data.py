"""The evaluation as small tables, from which DVC draws figures and compares runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from polite_flamingo.evaluate.bootstrap import Figure
from polite_flamingo.io.text import write_csv

AXES = {"understanding": "qa_in_domain", "out of domain": "qa_out_of_domain", "politeness": "reward"}  # of the U
BIN = 0.25  # reward, no unit; the same bins in every run


def write_u_curve(path: Path, models: Mapping[str, Mapping[str, Figure]]) -> Path:
    """The axes of the U with their intervals, a row per model and axis.

    Args:
        path: CSV to write.
        models: Figures of the models in the order of the rows.
    """
    found = [(model, axis, figures.get(name)) for axis, name in AXES.items() for model, figures in models.items()]
    rows = [(model, axis, n["value"], n["low"], n["high"]) for model, axis, n in found if n and n["value"] is not None]
    write_csv(path, ("model", "axis", "value", "low", "high"), rows)
    return path


def write_rewards(path: Path, rewards: Mapping[str, Sequence[float]]) -> Path:
    """How rewards are distributed: share of each kind of answer per bin; a bin goes by its middle."""
    write_csv(path, ("answers", "reward", "share"), _binned(rewards))
    return path


def _binned(rewards: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, float, float]]:
    for name, values in rewards.items():
        bins = Counter(math.floor(value / BIN) for value in values)
        if bins:
            for number in range(min(bins) - 1, max(bins) + 2):  # an empty one at either end: curves begin and end at 0
                yield name, (number + 0.5) * BIN, round(bins[number] / len(values), 4)
