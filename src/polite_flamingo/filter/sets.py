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

from polite_flamingo.filter.chain import KEPT, ORDER, Decision, FilterResult, FilterSettings
from polite_flamingo.filter.columns import Verdicts
from polite_flamingo.filter.near_duplicates import similarities
from polite_flamingo.filter.table import count_rows, decide_table
from polite_flamingo.filter.template import opening_shares
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.likeness import VALUES

if TYPE_CHECKING:
    import numpy as np

    from polite_flamingo.filter.columns import Floats, Ints, Mask

    Signatures = np.ndarray[Any, np.dtype[np.uint16]]

_DEFAULTS = FilterSettings()
SETS = (_DEFAULTS.near_duplicates.name, _DEFAULTS.template.name)
ALL = (*ORDER, *SETS)  # every filter, in the order of the decision
LABELS = {one.name: (one.title, one.axis) for one in _DEFAULTS.filters()} | {  # title and axis, for readers
    one.name: (one.title, one.axis) for one in (_DEFAULTS.near_duplicates, _DEFAULTS.template)
}
ALIKE = 0.8  # similarity that the report calls near-duplicate while no limit is set
OPENINGS = 3  # openings per source in the report


@dataclass(frozen=True, slots=True)
class SetVerdicts:
    """What the set filters say about every row of the score table.

    Args:
        settings: What was judged with.
        verdicts: By name, in the order of `SETS`; scores are NaN for rows that another filter rejects.
        report: By source: records looked at, near-duplicates among them, the commonest openings.
    """

    settings: FilterSettings
    verdicts: Mapping[str, Verdicts]
    report: Mapping[str, Any]

    def apply(self, rewrite: Rewrite, decision: Decision, row: int) -> Decision:
        """The decision on `rewrite`, record number `row`, completed."""
        import math

        results = dict(decision.verdicts)
        reason = decision.reason
        for one in (self.settings.near_duplicates, self.settings.template):
            score = float(self.verdicts[one.name].score[row])
            rejected = bool(self.verdicts[one.name].rejected[row])
            results[one.name] = FilterResult(None if math.isnan(score) else score, one.limit, not rejected)
            if rejected and reason is None:
                reason = one.reason(score)
        left = rewrite if reason is not None else decision.rewrite
        return replace(decision, verdicts=results, reason=reason, rewrite=left)


def judge_sets(folder: Path, settings: FilterSettings) -> SetVerdicts:
    """Look at every source of a score table; some 150 bytes of memory for each record that the other filters keep."""
    import numpy as np

    total = count_rows(folder)
    positions: list[Ints] = []
    sources: list[str] = []
    openings: list[str] = []
    signed: list[Signatures] = []
    start = 0
    for batch, decisions in decide_table(folder, settings, ("source", "probe", "opening", "signature")):
        rows = np.flatnonzero((decisions.failed == KEPT) & batch.among("probe", ("",)))
        positions.append(rows + start)
        for column, texts in (("source", sources), ("opening", openings)):
            codes, names = batch.texts(column)
            texts += [names[code] for code in codes[rows]]
        signed.append(batch.signatures()[rows])
        start += len(batch)
    position = np.concatenate([np.empty(0, np.int64), *positions])
    source, names = _codes(sources)
    similar = similarities(np.concatenate([np.empty((0, VALUES), np.uint16), *signed]), source)
    opened, phrases = _codes(openings)
    near, template = settings.near_duplicates, settings.template
    copies = near.judge(similar)
    left = np.flatnonzero(~copies)  # a template is looked for among what is left
    share, rank = opening_shares(source[left], opened[left], len(phrases))
    verdicts = {
        near.name: _spread(total, position, similar, copies),
        template.name: _spread(total, position[left], share, template.judge(source[left], rank)),
    }
    return SetVerdicts(settings, verdicts, _report(names, source, phrases, opened, similar, near.limit))


def switched_on(settings: FilterSettings) -> tuple[str, ...]:
    """Names of the filters that can reject, in the order of `ALL`."""
    limits = {one.name: one.threshold(Task.CAPTION) for one in settings.filters()}
    limits |= {one.name: one.limit for one in (settings.near_duplicates, settings.template)}
    return tuple(name for name in ALL if limits[name] is not None)


def _codes(texts: Sequence[str]) -> tuple[Ints, list[str]]:
    """The index of each text among the distinct ones, which come in order of appearance."""
    import numpy as np

    known: dict[str, int] = {}
    codes = np.fromiter((known.setdefault(text, len(known)) for text in texts), dtype=np.int64, count=len(texts))
    return codes, list(known)


def _spread(total: int, position: Ints, score: Floats, rejected: Mask) -> Verdicts:
    import numpy as np

    scores, rejections = np.full(total, np.nan), np.zeros(total, dtype=bool)
    scores[position], rejections[position] = score, rejected
    return Verdicts(scores, rejections)


def _report(
    names: Sequence[str], source: Ints, phrases: Sequence[str], opened: Ints, similar: Floats, limit: float | None
) -> dict[str, Any]:
    report = {}
    for code, name in sorted(enumerate(names), key=lambda pair: pair[1]):
        rows = source == code
        size = int(rows.sum())
        alike = int((similar[rows] > (ALIKE if limit is None else limit)).sum())
        common = Counter(opened[rows].tolist()).most_common(OPENINGS)
        report[name] = {
            "records": size,
            "near_duplicates": alike,
            "near_duplicate_share": round(alike / size, 4),
            "openings": [[phrases[code], round(count / size, 4)] for code, count in common],
        }
    return report
