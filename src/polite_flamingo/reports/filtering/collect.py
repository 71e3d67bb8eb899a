"""One pass over the decisions: counts of fates and scores, and which records to show. No record stays in memory."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from itertools import chain
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.filter.decisions import KEPT, STATES, read_decisions
from polite_flamingo.filter.sets import ALL
from polite_flamingo.scorers.base import DECIMALS
from polite_flamingo.scorers.nli import LABELS
from polite_flamingo.scorers.value_counts import ValueCounts

COLUMNS = ("id", "source", "task", "scores", "cut", *ALL)
DRAWN_PER_GROUP = 64  # records remembered per source and fate
CLOSE_PER_GROUP = 4  # per source, filter and side of the threshold

Position = tuple[str, int]  # state, number of the record in its folder


@dataclass
class Scores:
    """Scores of one filter with one threshold, per source.

    Args:
        cuts: The threshold as numbers on the axis of the scores (`on_axis`).
        threshold: As in the verdicts.
        tasks: Tasks of the records.
        sources: Source -> scores that passed, scores that failed (or had a paragraph cut).
    """

    cuts: tuple[float, ...]
    threshold: Any
    tasks: set[str] = field(default_factory=set)
    sources: dict[str, tuple[ValueCounts, ValueCounts]] = field(default_factory=dict)

    def add(self, source: str, score: float, passed: bool) -> None:
        """Remember one score."""
        sides = self.sources.get(source)
        if sides is None:
            sides = self.sources[source] = ValueCounts(), ValueCounts()
        sides[not passed].add(score)

    def together(self) -> ValueCounts:
        """The scores of all sources."""
        together = ValueCounts()
        for side in chain.from_iterable(self.sources.values()):
            together.counts.update(side.counts)
        return together


@dataclass
class Collected:
    """What the page tells about all records.

    Args:
        sources: Source -> counts: ``records``, ``kept``, and the filter that rejected the rest.
        alone: Filter -> records it rejects, also those another filter had rejected before.
        applied: Filter -> records it has looked at.
        edited: Kept records of which paragraphs were cut.
        scores: (filter, threshold as JSON) -> scores; some tasks have thresholds of their own.
        filters: Names of the filters in their order.
        examples: Positions of the records to show, with the filters near whose threshold they lie.
    """

    sources: dict[str, Counter[str]] = field(default_factory=dict)
    alone: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    edited: int = 0
    scores: dict[tuple[str, str], Scores] = field(default_factory=dict)
    filters: tuple[str, ...] = ALL
    examples: dict[Position, set[str]] = field(default_factory=dict)

    @property
    def total(self) -> Counter[str]:
        """Counts over all sources."""
        return sum(self.sources.values(), Counter())

    def scores_of(self, name: str, threshold: Any, task: str) -> Scores:
        """The scores of a filter with a threshold, from now on also those of a task."""
        scores = self.scores.setdefault((name, json.dumps(threshold)), Scores(cuts_on_axis(name, threshold), threshold))
        scores.tasks.add(task)
        return scores


def collect(pf1m: Path, examples: int) -> Collected:
    """Read the decision table in `pf1m` and choose `examples` records to show.

    Half of the choice is drawn by the hash of the id, evenly over sources and fates; the other half lies nearest to a
    threshold. The same data always give the same choice.
    """
    collected = Collected()
    drawn = _Nearest(DRAWN_PER_GROUP)
    close = _Nearest(CLOSE_PER_GROUP)
    scores_of_task: dict[tuple[str, str], Scores] = {}  # a filter has one threshold per task
    for position, row in _rows(pf1m):
        source, task = row["source"], row["task"]
        verdicts = {name: row[name] for name in ALL if row[name] is not None}
        failed = [name for name, verdict in verdicts.items() if not verdict["passed"]]
        fate = failed[0] if failed else KEPT
        collected.sources.setdefault(source, Counter()).update(("records", fate))
        collected.alone.update(failed)
        edited = fate == KEPT and bool(row["cut"])
        collected.edited += edited
        drawn.add((source, "edited" if edited else fate), _draw(row["id"]), position)
        for name, verdict in verdicts.items():
            score, threshold, passed = verdict["score"], verdict["threshold"], verdict["passed"]
            if score is None:
                collected.applied[name] += not passed
                continue
            if (scores := scores_of_task.get((name, task))) is None:
                scores = scores_of_task[name, task] = collected.scores_of(name, threshold, task)
            collected.applied[name] += 1
            if name == "nli" and scores.cuts:
                score = round(nli_margin(row["scores"]["nli"], threshold), DECIMALS)
            if not math.isfinite(score):
                raise DataError("a score is not a number", value=name, where=row["id"], next_step="score it again")
            below = name == "paragraphs" and score < scores.cuts[0]
            scores.add(source, score, passed and not below)
            if score:  # 0: nothing of what the filter counts
                for cut in scores.cuts:
                    close.add((source, name, passed), abs(score - cut), position)
    near = close.choose(examples // 2)
    for position, keys in [*near.items(), *drawn.choose(examples - len(near), near).items()]:
        collected.examples[position] = {key[1] for key in keys if len(key) == 3}
    return collected


def cuts_on_axis(name: str, threshold: Any) -> tuple[float, ...]:
    """A threshold as numbers on the axis of its scores: one number, two bounds, or none where the filter is off.

    The NLI filter compares labels; its axis is `nli_margin`, on which it rejects above 0.
    """
    if name == "nli":
        return (0.0,) if 0 < len(threshold) < len(LABELS) else ()
    values = threshold if isinstance(threshold, list) else [threshold]
    return tuple(float(value) for value in values if isinstance(value, int | float))


def nli_margin(logits: Sequence[float], reject: Collection[str]) -> float:
    """The largest logit of a label in `reject` less the largest of the others; logits in the order of `LABELS`."""
    rejected = max(value for label, value in zip(LABELS, logits, strict=True) if label in reject)
    return rejected - max(value for label, value in zip(LABELS, logits, strict=True) if label not in reject)


class _Nearest:
    """The few entries with the smallest distance in each group."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._groups: dict[tuple[Any, ...], list[tuple[float, Position]]] = {}

    def add(self, group: tuple[Any, ...], distance: float, position: Position) -> None:
        heap = self._groups.setdefault(group, [])
        if len(heap) < self._size:
            heappush(heap, (-distance, position))
        elif -distance > heap[0][0]:
            heappushpop(heap, (-distance, position))

    def choose(self, count: int, known: Mapping[Position, Any] | None = None) -> dict[Position, set[tuple[Any, ...]]]:
        """At most `count` entries that are not `known`: the nearest of every group, then the second nearest."""
        groups = {key: sorted(heap, reverse=True) for key, heap in sorted(self._groups.items(), key=str)}
        chosen: dict[Position, set[tuple[Any, ...]]] = {}
        for rank in range(self._size):
            for key, entries in groups.items():
                if rank >= len(entries) or entries[rank][1] in (known or {}):
                    continue
                position = entries[rank][1]
                if position in chosen or len(chosen) < count:
                    chosen.setdefault(position, set()).add(key)
        return chosen


def _draw(record: str) -> float:
    return int.from_bytes(hashlib.sha256(record.encode()).digest()[:6]) / 2**48


def _rows(pf1m: Path) -> Iterator[tuple[Position, Mapping[str, Any]]]:
    for state in STATES:
        for number, row in enumerate(read_decisions(pf1m, state, COLUMNS)):
            yield (state, number), row
