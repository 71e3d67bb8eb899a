"""One pass over the decisions: counts, scores, and which records to show. No text stays in memory."""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import ORDER
from polite_flamingo.io import read_shard
from polite_flamingo.scorers.nli import LABELS

KEPT = "kept"
STATES = (KEPT, "rejected")
COLUMNS = ("id", "source", "task", "verdicts", "scores", "cut")
DRAWN_PER_GROUP = 64  # records remembered per source and fate
CLOSE_PER_GROUP = 4  # per source, filter and side of the threshold

Place = tuple[str, str, int]  # state, shard, row


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
    sources: dict[str, tuple[array[float], array[float]]] = field(default_factory=dict)

    def add(self, source: str, score: float, passed: bool) -> None:
        """Remember one score."""
        self.sources.setdefault(source, (array("f"), array("f")))[not passed].append(score)


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
        shown: Places of the records to show, with the filters near whose threshold they lie.
    """

    sources: dict[str, Counter[str]] = field(default_factory=dict)
    alone: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    edited: int = 0
    scores: dict[tuple[str, str], Scores] = field(default_factory=dict)
    filters: tuple[str, ...] = ORDER
    shown: dict[Place, set[str]] = field(default_factory=dict)

    @property
    def total(self) -> Counter[str]:
        """Counts over all sources."""
        return sum(self.sources.values(), Counter())


def collect(pf1m: Path, examples: int) -> Collected:
    """Read the decisions in `pf1m` (folders ``kept`` and ``rejected``) and choose `examples` records to show.

    Half of the choice is drawn by the hash of the id, evenly over sources and fates; the other half lies nearest to a
    threshold. The same data always give the same choice.
    """
    found = Collected()
    drawn = _Nearest(DRAWN_PER_GROUP)
    close = _Nearest(CLOSE_PER_GROUP)
    for place, row in _rows(pf1m):
        source = row["source"]
        verdicts: dict[str, list[Any]] = json.loads(row["verdicts"])
        found.filters += tuple(name for name in verdicts if name not in found.filters)
        failed = [name for name, (_, _, passed) in verdicts.items() if not passed]
        fate = failed[0] if failed else KEPT
        found.sources.setdefault(source, Counter()).update(("records", fate))
        found.alone.update(failed)
        found.edited += fate == KEPT and row["cut"] != "[]"
        drawn.add((source, fate), _draw(row["id"]), place)
        for name, (raw_score, threshold, passed) in verdicts.items():
            found.applied[name] += raw_score is not None or not passed
            if raw_score is None:
                continue
            score, cuts = on_axis(name, raw_score, threshold, row["scores"])
            if not math.isfinite(score):
                raise DataError("a score is not a number", value=name, where=row["id"], next_step="score it again")
            scores = found.scores.setdefault((name, json.dumps(threshold)), Scores(cuts, threshold))
            scores.tasks.add(row["task"])
            below = name == "paragraphs" and score < cuts[0]
            scores.add(source, score, passed and not below)
            if cuts and score:  # 0: nothing of what the filter counts
                close.add((source, name, passed), min(abs(score - cut) for cut in cuts), place)
    near = close.choose(examples // 2)
    for place, keys in [*near.items(), *drawn.choose(examples - len(near), near).items()]:
        found.shown[place] = {key[1] for key in keys if len(key) == 3}
    return found


def on_axis(name: str, score: float, threshold: Any, scores: str) -> tuple[float, tuple[float, ...]]:
    """A score and the thresholds it is compared with, as numbers on one axis.

    The NLI filter compares labels: its score here is the largest rejected logit less the largest accepted one, so that
    it rejects above 0.

    Args:
        name: Filter.
        score: As in the verdict.
        threshold: As in the verdict: a number, bounds, or labels.
        scores: The record's score columns as JSON.
    """
    if name == "nli":
        logits = json.loads(scores)["nli"]
        rejected = [value for label, value in zip(LABELS, logits, strict=True) if label in threshold]
        accepted = [value for label, value in zip(LABELS, logits, strict=True) if label not in threshold]
        return (max(rejected) - max(accepted), (0.0,)) if rejected and accepted else (score, ())
    values = threshold if isinstance(threshold, list) else [threshold]
    return float(score), tuple(float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool))


class _Nearest:
    """The few entries with the smallest distance in each group."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._groups: dict[tuple[Any, ...], list[tuple[float, tuple[str, str, int]]]] = {}

    def add(self, group: tuple[Any, ...], distance: float, place: Place) -> None:
        heap = self._groups.setdefault(group, [])
        entry = (-distance, place)
        if len(heap) < self._size:
            heappush(heap, entry)
        else:
            heappushpop(heap, entry)

    def choose(self, count: int, known: Mapping[Place, Any] | None = None) -> dict[Place, set[tuple[Any, ...]]]:
        """At most `count` entries that are not `known`: the nearest of every group, then the second nearest."""
        groups = {key: sorted(heap, reverse=True) for key, heap in sorted(self._groups.items(), key=str)}
        chosen: dict[Place, set[tuple[Any, ...]]] = {}
        for rank in range(self._size):
            for key, entries in groups.items():
                if rank >= len(entries) or entries[rank][1] in (known or {}):
                    continue
                place = entries[rank][1]
                if place in chosen or len(chosen) < count:
                    chosen.setdefault(place, set()).add(key)
        return chosen


def _draw(record: str) -> float:
    return int.from_bytes(hashlib.sha256(record.encode()).digest()[:6]) / 2**48


def _rows(pf1m: Path) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for state in STATES:
        for shard in sorted((pf1m / state).glob("part-*.parquet")):
            for number, row in enumerate(read_shard(shard, COLUMNS)):
                yield (state, shard.name, number), row
