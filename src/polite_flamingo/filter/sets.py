"""Filters that look at a source as a whole: near-duplicate answers, and answers that all begin alike. Beyond the paper.

They see what every other filter has passed, and no injected corruption. Both are always measured and reject only where
a limit is set (the defaults set none). A record is a near-duplicate of an *earlier* one, so that of several alike
answers the first stays; of a template as many records stay, from the first on, as its limit allows. The paper
criticises M3IT for its templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polite_flamingo.filter.chain import KEPT, ORDER, Decision, FilterResult, FilterSettings
from polite_flamingo.filter.columns import Verdicts
from polite_flamingo.filter.near_duplicates import equal_values
from polite_flamingo.filter.spool import Spool, whole
from polite_flamingo.filter.table import count_rows, decide_table, read_batches
from polite_flamingo.filter.template import LAYOUT, Openings, opening_key
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.likeness import VALUES

_DEFAULTS = FilterSettings()
SETS = (_DEFAULTS.near_duplicates.name, _DEFAULTS.template.name)
ALL = (*ORDER, *SETS)  # every filter, in the order of the decision
LABELS = {one.name: (one.title, one.axis) for one in _DEFAULTS.filters()} | {  # title and axis, for readers
    one.name: (one.title, one.axis) for one in (_DEFAULTS.near_duplicates, _DEFAULTS.template)
}
ALIKE = 0.8  # similarity that the report calls near-duplicate while no limit is set


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
    """Look at every source of a score table, in bounded memory: signatures lie on the disk, 152 bytes for each record
    that the other filters keep and as many again for the source at hand.
    """
    import numpy as np

    verdicts = {name: _no_verdicts(count_rows(folder)) for name in SETS}
    near, template = (verdicts[name] for name in SETS)
    limit = settings.near_duplicates.limit
    report: dict[str, Any] = {}
    common: dict[str, list[tuple[int, int]]] = {}
    sources = _by_source(folder, settings)
    for source in sorted(sources):
        rows = sources[source]
        equal = equal_values(rows)
        alike = left = 0
        opened = Spool(LAYOUT)
        for block in rows.blocks():
            similar = equal[block["number"]] / VALUES
            copies = settings.near_duplicates.judge(similar)
            alike += int((similar > (ALIKE if limit is None else limit)).sum())
            left += int((~copies).sum())
            near.score[block["row"]], near.rejected[block["row"]] = similar, copies
            narrow = np.empty(len(block), LAYOUT)
            narrow["row"], narrow["opening"], narrow["left"] = block["row"], block["opening"], ~copies
            opened.add(narrow)
        openings = Openings(opened)
        for part in openings.shares(left):
            template.score[part.row] = part.share
            template.rejected[part.row] = settings.template.judge(part.rank, left)
        common[source] = openings.common
        report[source] = {
            "records": rows.count,
            "near_duplicates": alike,
            "near_duplicate_share": round(alike / rows.count, 4),
        }
        rows.close()
        opened.close()
    phrases = _phrases(folder, {row for found in common.values() for _, row in found})
    for source, found in common.items():
        size = report[source]["records"]
        report[source]["openings"] = [[phrases[row], round(count / size, 4)] for count, row in found]
    return SetVerdicts(settings, verdicts, report)


_LAYOUT = [("row", "i8"), ("number", "i8"), ("opening", "u8"), ("signature", "u2", (VALUES,))]


def _by_source(folder: Path, settings: FilterSettings) -> dict[str, Spool]:
    """What the set filters need of the records that all others keep, injected corruptions aside."""
    import numpy as np

    sources: dict[str, Spool] = {}
    start = 0
    for batch, decisions in decide_table(folder, settings, ("source", "probe", "opening", "signature")):
        natural = (decisions.failed == KEPT) & batch.among("probe", ("",))
        codes, names = batch.texts("source")
        opened, phrases = batch.texts("opening")
        keys = np.array([opening_key(phrase) for phrase in phrases], np.uint64)
        for code, name in enumerate(names):
            chosen = np.flatnonzero(natural & (codes == code))
            if not len(chosen):
                continue
            spool = sources.get(name)
            if spool is None:
                spool = sources[name] = Spool(_LAYOUT)
            rows = np.empty(len(chosen), _LAYOUT)
            rows["row"], rows["number"] = start + chosen, spool.count + np.arange(len(chosen))
            rows["opening"], rows["signature"] = keys[opened[chosen]], batch.signatures()[chosen]
            spool.add(rows)
        start += len(batch)
    return sources


def _no_verdicts(total: int) -> Verdicts:
    verdicts = Verdicts(whole(total, "f8"), whole(total, "?"))
    verdicts.score[:] = float("nan")
    return verdicts


def _phrases(folder: Path, rows: set[int]) -> dict[int, str]:
    """The openings of some rows."""
    phrases: dict[int, str] = {}
    start = 0
    for batch in read_batches(folder, ("opening",)):
        codes, names = batch.texts("opening")
        phrases |= {row: names[codes[row - start]] for row in rows if start <= row < start + len(batch)}
        start += len(batch)
    return phrases


def switched_on(settings: FilterSettings) -> tuple[str, ...]:
    """Names of the filters that can reject, in the order of `ALL`."""
    limits = {one.name: one.threshold(Task.CAPTION) for one in settings.filters()}
    limits |= {one.name: one.limit for one in (settings.near_duplicates, settings.template)}
    return tuple(name for name in ALL if limits[name] is not None)
