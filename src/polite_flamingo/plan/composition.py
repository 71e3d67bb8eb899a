"""PF-1M as a profile makes it, beside Table 6: annotations before filtering, and what the filters should leave of them.

The paper gives no share of kept records per set. What it adopted of a whole set is the least it can have kept of it;
where that is less than `KEPT_OF_THE_REST`, the latter stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from polite_flamingo.params.schema import Params
from polite_flamingo.plan.paper import KEPT_OF_THE_REST, REWRITTEN, TABLE_6
from polite_flamingo.sources.drawing import spread
from polite_flamingo.sources.registry import catalogue
from polite_flamingo.sources.selection import SourceSpec

OTHER = "not in the paper"


def rows(params: Params, source: SourceSpec) -> int | None:
    """Rows a profile takes of one source; None where only the download will tell."""
    entry = catalogue().get(source.name)
    known = None if entry is None or params.world is not None else entry.splits.get(source.split)
    if source.limit is None:
        return known
    return source.limit if known is None else min(source.limit, known)


def composition(params: Params) -> list[dict[str, Any]]:
    """A row per row of Table 6: ``quota`` (None: not known), ``whole``, ``expected``, ``paper`` and ``difference``.

    ``whole`` says that more annotations are wanted of the set than it has, or all of them.
    """
    sources = [source for source in params.sources if source.role == "annotation"]
    quotas = _quotas(params, sources)
    table = []
    for row, (adopted, _) in {**TABLE_6, OTHER: (0, "")}.items():
        mine = [i for i, source in enumerate(sources) if row_of(source.name) == row]
        if row == OTHER and not mine:
            continue
        unknown = any(quotas[i] is None for i in mine)
        quota = sum(quotas[i] or 0 for i in mine)
        expected = round(quota * _kept([sources[i] for i in mine], adopted))
        table.append(
            {
                "row": row,
                "quota": None if unknown else quota,
                "whole": bool(mine) and all(_whole(sources[i]) for i in mine),
                "expected": None if unknown else expected,
                "paper": adopted,
                "difference": None if unknown or not adopted else expected / adopted - 1,
            }
        )
    return table


def row_of(dataset: str) -> str:
    """The row of Table 6 that a dataset belongs to."""
    found = (row for row, (_, names) in TABLE_6.items() if any(fnmatchcase(dataset, name) for name in names.split()))
    return next(found, OTHER)


def _quotas(params: Params, sources: Sequence[SourceSpec]) -> list[int | None]:
    """Annotations of each source under its limit and under that of the role."""
    known = [rows(params, source) for source in sources]
    limit = params.limits.annotation
    if limit is None or None in known:
        return known
    return list(spread([number or 0 for number in known], limit))


def _kept(sources: Sequence[SourceSpec], adopted: int) -> float:
    """The share of a row that the paper kept, as far as it can be told."""
    entries = [(catalogue().get(source.name), source.split) for source in sources]
    sizes = [None if entry is None else entry.splits.get(split) for entry, split in entries]
    size = sum(size or 0 for size in sizes)
    return max(KEPT_OF_THE_REST, min(1.0, adopted / size)) if size and None not in sizes else KEPT_OF_THE_REST


def _whole(source: SourceSpec) -> bool:
    entry = catalogue().get(source.name)
    known = None if entry is None else entry.splits.get(source.split)
    return source.limit is None or (known is not None and known <= source.limit)


def render(table: Sequence[dict[str, Any]]) -> list[str]:
    """The composition beside the paper's, a line per row and their sums."""
    lines = [f"{'PF-1M beside Table 6':<24}{'before':>11}{'expected':>11}{'paper':>11}{'difference':>12}"]
    lines += [
        f"{one['row']:<24}{_count(one['quota']):>11}{_count(one['expected']):>11}{one['paper']:>11,}"
        f"{_percent(one['difference']):>12}{'  the whole set' if one['whole'] and one['quota'] else ''}"
        for one in table
    ]
    quota, expected, adopted = (sum(one[key] or 0 for one in table) for key in ("quota", "expected", "paper"))
    share = _percent(expected / adopted - 1)
    lines.append(f"{'together':<24}{quota:>11,}{expected:>11,}{adopted:>11,}{share:>12}")
    lines.append(
        f"  the paper before filtering: {REWRITTEN:,}; expected: {KEPT_OF_THE_REST:.3f} of each set, "
        "of a whole one the part the paper adopted"
    )
    return lines


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:+.1%}"
