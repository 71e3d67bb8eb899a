"""Thresholds for a stated target: at most x of what is kept corrupted, at least y of the clean kept.

One threshold at a time is moved to its best value until none moves (coordinate search), from the present ones on. Only
filters that ask for the truth are searched (STS per task, paragraphs, NLI); length, change, repetition and leaked boxes
ask for form. Thresholds are chosen on one half of the groups and measured on the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polite_flamingo.calibrate.rates import corrupted_after
from polite_flamingo.calibrate.verdicts import LabelledTable, outcomes
from polite_flamingo.filter.chain import Thresholds
from polite_flamingo.records import Task

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

STEPS = 40  # values of a threshold tried
ROUNDS = 5
NLI_CHOICES: tuple[tuple[str, ...], ...] = ((), ("contradiction",), ("contradiction", "neutral"))
Move = Callable[[Thresholds], Iterator[Thresholds]]


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of the chain.

    Args:
        max_corrupted: Largest share of corrupted records among the kept.
        min_clean: Smallest share of the clean records that is kept.
        prevalence: Share of corrupted records before filtering.
    """

    max_corrupted: float
    min_clean: float
    prevalence: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Thresholds found.

    Args:
        thresholds: The suggestion.
        corrupted: Share of corrupted among the kept, on the half it was chosen on.
        clean_kept: Share of the clean that is kept, there.
        met: The target is met there.
    """

    thresholds: Thresholds
    corrupted: float
    clean_kept: float
    met: bool


def halves(table: LabelledTable) -> tuple[LabelledTable, LabelledTable]:
    """Two halves by group: one to choose thresholds on, one to measure them on."""
    import numpy as np

    side = np.array([zlib.crc32(group.encode()) % 2 for group in table.groups])
    return table.take(np.flatnonzero(side == 0)), table.take(np.flatnonzero(side == 1))


def suggest(table: LabelledTable, start: Thresholds, target: Target) -> Suggestion:
    """Search from `start` on.

    Settings that keep too little of the clean are worst, then those with too much corrupted, then those that meet both,
    of which the one that keeps most of the clean is best.
    """
    moves = _moves(table)
    best, reached = start, _standing(table, start, target)
    for _ in range(ROUNDS):
        before = best
        for move in moves:
            for tried in move(best):
                standing = _standing(table, tried, target)
                if standing > reached:
                    best, reached = tried, standing
        if best == before:
            break
    recall, cost = _rates(table, best)
    corrupted = float(corrupted_after(recall, cost, target.prevalence))
    met = corrupted <= target.max_corrupted and 1 - float(cost) >= target.min_clean
    return Suggestion(best, round(corrupted, 6), round(1 - float(cost), 6), met)


def _standing(table: LabelledTable, thresholds: Thresholds, target: Target) -> tuple[int, float, float]:
    import numpy as np

    recall, cost = _rates(table, thresholds)
    kept = 1 - float(cost)
    corrupted = float(np.nan_to_num(corrupted_after(recall, cost, target.prevalence), nan=1.0))
    if kept < target.min_clean:
        return 0, kept, -corrupted
    if corrupted > target.max_corrupted:
        return 1, -corrupted, kept
    return 2, kept, -corrupted


def _rates(table: LabelledTable, thresholds: Thresholds) -> tuple[Floats, Floats]:
    import numpy as np

    taken = outcomes(table, thresholds)[0].taken
    wrong = table.corrupted
    recall = taken[wrong].mean() if wrong.any() else np.float64(1.0)
    cost = taken[~wrong].mean() if (~wrong).any() else np.float64(0.0)
    return np.asarray(recall), np.asarray(cost)


def _moves(table: LabelledTable) -> list[Move]:
    import numpy as np

    moves: list[Move] = []
    sts = table.batch.number("sts")
    for task in (task for task in Task if task.is_caption):
        values = sts[table.batch.among("task", [task])]
        if not np.isnan(values).all() and len(values):
            moves.append(_task_sts(task, _steps(values, 2)))
    logits = table.batch.numbers("clip_logits")
    shown = logits.values[np.repeat(table.batch.captions & (logits.lengths > 1), logits.lengths)]
    if len(shown):
        moves.append(_each("min_clip_logit", _steps(shown, 1)))
    if (table.batch.numbers("nli").lengths > 0).any():
        moves.append(_each("nli_reject", NLI_CHOICES))
    return moves


def _task_sts(task: Task, values: Sequence[float]) -> Move:
    def move(now: Thresholds) -> Iterator[Thresholds]:
        for value in values:
            chosen = {**dict(now.min_cosine_per_task), str(task): value}
            yield replace(now, min_cosine_per_task=tuple(sorted(chosen.items())))

    return move


def _each(name: str, values: Sequence[Any]) -> Move:
    def move(now: Thresholds) -> Iterator[Thresholds]:
        for value in values:
            yield replace(now, **{name: value})

    return move


def _steps(values: Floats, decimals: int) -> list[float]:
    """Values spread over the scores that were seen, from one below all on."""
    import numpy as np

    cuts = np.round(np.quantile(values[~np.isnan(values)], np.linspace(0, 1, STEPS)), decimals)
    return sorted({round(float(cuts[0]) - 10.0**-decimals, decimals), *map(float, cuts)})
