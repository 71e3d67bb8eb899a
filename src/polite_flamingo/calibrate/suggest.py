"""Thresholds for a stated target: at most x of what is kept corrupted, at least y of the clean kept.

One threshold at a time is moved to its best value until none moves (coordinate search), from three starts: the present
thresholds, and the other filters wide open with our checks on or off. Both rates have to meet the target one standard
error worse than they were seen, because the best of many settings looks better than it is. Only filters that ask for
the truth are searched (STS per task, paragraphs, NLI, our checks); length, change, repetition and leaked boxes ask for
form. Thresholds are chosen on one half of the groups and measured on the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from polite_flamingo.calibrate.rates import corrupted_after
from polite_flamingo.calibrate.verdicts import LabelledTable, outcomes
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.records import Task

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

STEPS = 40  # values of a threshold tried
ROUNDS = 5
CHECKS: dict[str, tuple[Any, ...]] = {  # of our own, from off to strict
    "unsupported_objects.max_objects": (None, 1, 0),
    "numbers.max_changed": (None, 1, 0),
    "yes_no.reject_flipped": (False, True),
}
JUDGED: dict[str, tuple[Any, ...]] = {  # where a judge has been asked
    "judge.min_supported": (None, 0.25, 0.5, 0.75, 0.9, 1.0),
    "judge_answer.reject_other": (False, True),
}
CHECKS_ON = {name: values[-1] for name, values in CHECKS.items()}
NLI_CHOICES: tuple[list[str], ...] = ([], ["contradiction"], ["contradiction", "neutral"])
Move = Callable[
    [FilterSettings], Iterator[FilterSettings]
]  # the thresholds with another value of one, from open to strict


@dataclass(frozen=True, slots=True)
class Target:
    """What the chain shall reach.

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
    """Thresholds that were searched for.

    Args:
        thresholds: The suggestion.
        corrupted: Share of corrupted among the kept, on the half it was chosen on.
        clean_kept: Share of the clean that is kept, there.
        met: The target is met there, by the rates as they were seen.
    """

    thresholds: FilterSettings
    corrupted: float
    clean_kept: float
    met: bool


def halves(table: LabelledTable) -> tuple[LabelledTable, LabelledTable]:
    """Two halves by group: one to choose thresholds on, one to measure them on."""
    import numpy as np

    side = np.array([zlib.crc32(group.encode()) % 2 for group in table.groups])
    return table.take(np.flatnonzero(side == 0)), table.take(np.flatnonzero(side == 1))


def suggest(table: LabelledTable, start: FilterSettings, target: Target) -> Suggestion:
    """Search from `start` and from wide-open filters.

    Settings that keep too little of the clean are worst, then those with too much corrupted, then those that meet both,
    of which the one that keeps most of the clean is best.
    """
    truth, checks = _moves(table)
    wide = start
    for move in (*truth, *checks):
        wide = next(move(wide))
    strict = wide
    for move in checks:
        *_, strict = move(strict)
    ends = [_climb(table, one, [*truth, *checks], target) for one in (start, wide, strict)]
    reached, best = max(ends, key=lambda end: end[0])
    for kept in _back(best, start):  # where the present value does as well, it stays
        if _standing(table, kept(best), target) >= reached:
            best = kept(best)
    recall, cost = _rates(table, best)
    corrupted = float(corrupted_after(recall, cost, target.prevalence))
    met = corrupted <= target.max_corrupted and 1 - float(cost) >= target.min_clean
    return Suggestion(best, round(corrupted, 6), round(1 - float(cost), 6), met)


def _back(best: FilterSettings, start: FilterSettings) -> list[Callable[[FilterSettings], FilterSettings]]:
    """Ways to put one threshold back to its present value."""
    old, new = (settings.flat() for settings in (start, best))
    tasks = sorted(old["sts.per_task"].keys() | new["sts.per_task"].keys())
    ways: list[Callable[[FilterSettings], FilterSettings]] = [
        partial(_with_task, task=task, value=old["sts.per_task"].get(task)) for task in tasks
    ]
    others = ("paragraphs.min_clip_logit", "nli.reject", *CHECKS, *JUDGED)
    return [*ways, *(partial(FilterSettings.changed, changes={name: old[name]}) for name in others)]


def _with_task(now: FilterSettings, task: str, value: float | None) -> FilterSettings:
    """`now` with another STS threshold of a task; None: the one of all tasks."""
    per_task = {**now.flat()["sts.per_task"], task: value}
    return now.changed({"sts.per_task": {t: v for t, v in sorted(per_task.items()) if v is not None}})


def _climb(
    table: LabelledTable, start: FilterSettings, moves: Sequence[Move], target: Target
) -> tuple[tuple[int, float, float], FilterSettings]:
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
    return reached, best


def _standing(table: LabelledTable, thresholds: FilterSettings, target: Target) -> tuple[int, float, float]:
    import numpy as np

    recall, cost = _rates(table, thresholds)
    wrong = int(table.corrupted.sum())
    recall, cost = recall - _error(recall, wrong), cost + _error(cost, len(table.corrupted) - wrong)
    kept = 1 - float(cost)
    corrupted = float(np.nan_to_num(corrupted_after(recall, cost, target.prevalence), nan=1.0))
    if kept < target.min_clean:
        return 0, kept, -corrupted
    if corrupted > target.max_corrupted:
        return 1, -corrupted, kept
    return 2, kept, -corrupted


def _error(rate: Floats, records: int) -> Floats:
    """Standard error of a rate."""
    return (rate * (1 - rate) / max(records, 1)) ** 0.5


def _rates(table: LabelledTable, thresholds: FilterSettings) -> tuple[Floats, Floats]:
    import numpy as np

    removed = outcomes(table, thresholds)[0].removed
    wrong = table.corrupted
    recall = removed[wrong].mean() if wrong.any() else np.float64(1.0)
    cost = removed[~wrong].mean() if (~wrong).any() else np.float64(0.0)
    return np.asarray(recall), np.asarray(cost)


def _moves(table: LabelledTable) -> tuple[list[Move], list[Move]]:
    """Moves of the thresholds that the records say something about: the paper's filters, our checks."""
    import numpy as np

    truth: list[Move] = []
    sts = table.batch.number("sts")
    for task in (task for task in Task if task.is_caption):
        values = sts[table.batch.among("task", [task])]
        if not np.isnan(values).all():
            truth.append(_task_sts(task, _steps(values, 2)))
    logits = table.batch.numbers("clip_logits")
    logits_of_paragraphs = logits.values[np.repeat(table.batch.captions & (logits.lengths > 1), logits.lengths)]
    if len(logits_of_paragraphs):
        truth.append(_each("paragraphs.min_clip_logit", _steps(logits_of_paragraphs, 1)))
    if (table.batch.numbers("nli").lengths > 0).any():
        truth.append(_each("nli.reject", NLI_CHOICES))
    judged = not np.isnan(table.batch.number("judge_supported")).all()
    checks = {**CHECKS, **(JUDGED if judged else {})}
    return truth, [_each(name, values) for name, values in checks.items()]


def _task_sts(task: Task, values: Sequence[float]) -> Move:
    def move(now: FilterSettings) -> Iterator[FilterSettings]:
        for value in values:
            yield _with_task(now, str(task), value)

    return move


def _each(name: str, values: Sequence[Any]) -> Move:
    def move(now: FilterSettings) -> Iterator[FilterSettings]:
        for value in values:
            yield now.changed({name: value})

    return move


def _steps(values: Floats, decimals: int) -> list[float]:
    """Values spread over the scores that were seen, from one below all on."""
    import numpy as np

    cuts = np.round(np.quantile(values[~np.isnan(values)], np.linspace(0, 1, STEPS)), decimals)
    return sorted({round(float(cuts[0]) - 10.0**-decimals, decimals), *map(float, cuts)})
