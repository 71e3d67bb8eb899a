"""Filters that look at a source as a whole: near-duplicate answers, and answers that all begin alike. Beyond the paper.

They see what every other filter has passed, and no injected corruption. Both are always measured and reject only where
a limit is set (the defaults set none). A record is a near-duplicate of an *earlier* one, so that of several alike
answers the first stays; of a template as many records stay, from the first on, as its limit allows. The paper
criticises M3IT for its templates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.filter.chain import KEPT, ORDER, Decision, FilterResult, Thresholds
from polite_flamingo.filter.columns import Verdicts
from polite_flamingo.filter.table import count_rows, decide_table
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.likeness import VALUES

if TYPE_CHECKING:
    import numpy as np

    from polite_flamingo.filter.columns import Floats, Ints, Mask

    Signatures = np.ndarray[Any, np.dtype[np.uint16]]

SETS = ("near_duplicate", "template")
ALL = (*ORDER, *SETS)  # every filter, in the order of the decision
ALIKE = 0.8  # similarity that the report calls near-duplicate while no limit is set
BAND = 4  # values that must agree for two signatures to be compared
SHOWN = 3  # openings per source in the report


@dataclass(frozen=True, slots=True)
class SetVerdicts:
    """What the set filters say about every row of the score table.

    Args:
        verdicts: By name, in the order of `SETS`; scores are NaN for rows that another filter rejects.
        limits: By name; None: off.
        report: By source: records looked at, near-duplicates among them, the commonest openings.
    """

    verdicts: Mapping[str, Verdicts]
    limits: Mapping[str, float | None]
    report: Mapping[str, Any]

    def apply(self, rewrite: Rewrite, decision: Decision, row: int) -> Decision:
        """The decision on `rewrite`, record number `row`, completed."""
        import math

        results = dict(decision.verdicts)
        reason = None
        for name in SETS:
            score = float(self.verdicts[name].score[row])
            rejected = bool(self.verdicts[name].rejected[row])
            results[name] = FilterResult(None if math.isnan(score) else score, self.limits[name], not rejected)
            if rejected and reason is None:
                reason = f"{name}: {_SAYS[name]} {score:.4f}, above {self.limits[name]}"
        if reason is None:
            return replace(decision, verdicts=results)
        return replace(decision, verdicts=results, reason=reason, rewrite=rewrite)


_SAYS = {"near_duplicate": "similarity with an earlier answer", "template": "share of the source that begins alike"}


def judge_sets(folder: Path, thresholds: Thresholds) -> SetVerdicts:
    """Look at every source of a score table; some 150 bytes of memory for each record that the other filters keep."""
    import numpy as np

    total = count_rows(folder)
    places: list[Ints] = []
    sources: list[str] = []
    openings: list[str] = []
    signed: list[Signatures] = []
    start = 0
    for batch, decisions in decide_table(folder, thresholds, ("source", "probe", "opening", "signature")):
        rows = np.flatnonzero((decisions.failed == KEPT) & batch.among("probe", ("",)))
        places.append(rows + start)
        for column, found in (("source", sources), ("opening", openings)):
            codes, names = batch.texts(column)
            found += [names[code] for code in codes[rows]]
        signed.append(batch.signatures()[rows])
        start += len(batch)
    place = np.concatenate([np.empty(0, np.int64), *places])
    source, names = _codes(sources)
    similar = similarities(np.concatenate([np.empty((0, VALUES), np.uint16), *signed]), source)
    opened, phrases = _codes(openings)
    limits = _limits(thresholds)
    alike, most = limits["near_duplicate"], limits["template"]
    copies = np.zeros(len(place), dtype=bool) if alike is None else similar > alike
    left = np.flatnonzero(~copies)  # a template is looked for among what is left
    share, rank = _opening_shares(source[left], opened[left], len(phrases))
    allowed = np.inf if most is None else np.floor(most * np.bincount(source[left], minlength=len(names)))[source[left]]
    verdicts = {
        "near_duplicate": _spread(total, place, similar, copies),
        "template": _spread(total, place[left], share, rank >= allowed),
    }
    return SetVerdicts(verdicts, limits, _report(names, source, phrases, opened, similar, alike))


def switched_on(thresholds: Thresholds) -> tuple[str, ...]:
    """Names of the filters that can reject, in the order of `ALL`."""
    limits = {one.name: one.threshold(Task.CAPTION) for one in thresholds.filters()} | _limits(thresholds)
    return tuple(name for name in ALL if limits[name] is not None)


def _limits(thresholds: Thresholds) -> dict[str, float | None]:
    return {"near_duplicate": thresholds.max_similarity, "template": thresholds.max_opening_share}


def similarities(signed: Signatures, source: Ints) -> Floats:
    """Similarity of each answer with the most similar earlier one of its source that shares a band of its signature.

    Each run of equal bands is compared with its first answer alone, so that time grows with n log n.

    Args:
        signed: uint16, shape (answers, `VALUES`).
        source: Code of each answer's source, shape (answers,).
    """
    import numpy as np

    best = np.zeros(len(signed))
    bands = np.ascontiguousarray(signed).view(np.uint64)
    for band in range(VALUES // BAND):
        order = np.lexsort((bands[:, band], source))  # stable: earlier answers first
        keys, groups = bands[order, band], source[order]
        starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]) | (groups[1:] != groups[:-1])][: len(order)])
        first = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
        pairs = np.flatnonzero(order != first)
        for part in np.array_split(pairs, len(pairs) // 100_000 + 1):
            later, earlier = order[part], first[part]
            best[later] = np.maximum(best[later], (signed[later] == signed[earlier]).mean(axis=1))
    return best


def _opening_shares(source: Ints, opened: Ints, phrases: int) -> tuple[Floats, Ints]:
    """Share of its source that begins as each answer does, and how many such came before it."""
    import numpy as np

    key = source * max(phrases, 1) + opened
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0][: len(order)])
    counts = np.diff(np.r_[starts, len(order)])
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(starts, counts)
    count = np.empty(len(key))
    count[order] = np.repeat(counts, counts)
    return count / np.bincount(source)[source] if len(source) else count, rank


def _codes(texts: Sequence[str]) -> tuple[Ints, list[str]]:
    """The place of each text among the distinct ones, which come in order of appearance."""
    import numpy as np

    known: dict[str, int] = {}
    codes = np.fromiter((known.setdefault(text, len(known)) for text in texts), dtype=np.int64, count=len(texts))
    return codes, list(known)


def _spread(total: int, place: Ints, score: Floats, rejected: Mask) -> Verdicts:
    import numpy as np

    scores, rejections = np.full(total, np.nan), np.zeros(total, dtype=bool)
    scores[place], rejections[place] = score, rejected
    return Verdicts(scores, rejections)


def _report(
    names: Sequence[str], source: Ints, phrases: Sequence[str], opened: Ints, similar: Floats, limit: float | None
) -> dict[str, Any]:
    report = {}
    for code, name in sorted(enumerate(names), key=lambda found: found[1]):
        rows = source == code
        size = int(rows.sum())
        alike = int((similar[rows] > (ALIKE if limit is None else limit)).sum())
        common = Counter(opened[rows].tolist()).most_common(SHOWN)
        report[name] = {
            "records": size,
            "near_duplicates": alike,
            "near_duplicate_share": round(alike / size, 4),
            "openings": [[phrases[code], round(count / size, 4)] for code, count in common],
        }
    return report
