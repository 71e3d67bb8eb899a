"""The distribution of every score column."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.nli import nli_label
from polite_flamingo.scorers.value_counts import ValueCounts

_SUMMARISED = tuple(name for name in COLUMNS if name != "nli" and "_by_cut" not in name)


def summarise(rewrites: Iterable[Rewrite]) -> dict[str, Any]:
    """Distribution of every column; of the natural records, injected probes aside."""
    values: defaultdict[str, ValueCounts] = defaultdict(ValueCounts)
    labels: Counter[str] = Counter()
    probes = records = 0
    for rewrite in rewrites:
        if rewrite.extras.get("probe"):
            probes += 1
            continue
        records += 1
        for name, value in rewrite.scores.items():
            if name == "nli":
                labels.update([nli_label(value)] if value else [])
            elif name in _SUMMARISED and value is not None:
                for one in value if isinstance(value, list) else (value,):
                    values[name].add(one)
    return {
        "records": records,
        "probes": probes,
        "columns": {name: _distribution(values[name]) for name in _SUMMARISED},
        "nli": dict(sorted(labels.items())),
    }


def _distribution(values: ValueCounts) -> dict[str, Any]:
    if not values.total:
        return {"count": 0, "mean": None, "p05": None, "p50": None, "p95": None}
    cuts = values.quantiles(20)
    return {
        "count": values.total,
        "mean": round(values.mean(), 4),
        "p05": round(cuts[0], 4),
        "p50": round(cuts[9], 4),
        "p95": round(cuts[18], 4),
    }
