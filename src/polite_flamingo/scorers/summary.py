"""The distribution of every score column."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, quantiles
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.nli import nli_label


def summarise(rewrites: Iterable[Rewrite]) -> dict[str, Any]:
    """Distribution of every column; of the natural records, injected probes aside."""
    values: defaultdict[str, list[float]] = defaultdict(list)
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
            elif isinstance(value, list):
                values[name] += value
            elif value is not None:
                values[name].append(value)
    return {
        "records": records,
        "probes": probes,
        "columns": {name: _distribution(values[name]) for name in COLUMNS if name != "nli" and "_by_cut" not in name},
        "nli": dict(sorted(labels.items())),
    }


def _distribution(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"count": 0, "mean": None, "p05": None, "p50": None, "p95": None}
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else [values[0]] * 19
    return {
        "count": len(values),
        "mean": round(fmean(values), 4),
        "p05": round(cuts[0], 4),
        "p50": round(cuts[9], 4),
        "p95": round(cuts[18], 4),
    }
