"""The distribution of every score column, and by source what Table 3 says of a rewriter."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.nli import nli_label
from polite_flamingo.scorers.text import is_unchanged
from polite_flamingo.scorers.value_counts import ValueCounts


@dataclass(slots=True)
class SourceTally:
    """Table 3's columns of one source: share unchanged, mean reward, CLIPScore."""

    unchanged: ValueCounts = field(default_factory=ValueCounts)
    reward: ValueCounts = field(default_factory=ValueCounts)
    reward_raw: ValueCounts = field(default_factory=ValueCounts)
    clip_logit: ValueCounts = field(default_factory=ValueCounts)

    def add(self, rewrite: Rewrite) -> None:
        """Count one scored rewrite; its CLIPScore is the mean of its paragraphs."""
        scores = rewrite.scores
        self.unchanged.add(is_unchanged(rewrite))
        for name, values in (("reward", self.reward), ("reward_raw", self.reward_raw)):
            if scores.get(name) is not None:
                values.add(scores[name])
        if scores.get("clip_logits"):
            self.clip_logit.add(fmean(scores["clip_logits"]))

    def report(self) -> dict[str, Any]:
        """JSON values; None where nothing was scored."""
        means = {
            name: round(values.mean(), 4) if values.total else None
            for name, values in (
                ("unchanged", self.unchanged),
                ("reward", self.reward),
                ("reward_raw", self.reward_raw),
                ("clip_logit", self.clip_logit),
            )
        }
        return {"records": self.unchanged.total, **means}


def summarise(rewrites: Iterable[Rewrite]) -> dict[str, Any]:
    """Distribution of every column, and means by source; of the natural records, injected probes aside."""
    numeric = {name for name, kind in COLUMNS.items() if kind != "text"}
    summarised = tuple(name for name in COLUMNS if name in numeric and name != "nli" and "_by_cut" not in name)
    values: defaultdict[str, ValueCounts] = defaultdict(ValueCounts)
    labels: Counter[str] = Counter()
    sources: defaultdict[str, SourceTally] = defaultdict(SourceTally)
    probes = records = 0
    for rewrite in rewrites:
        if rewrite.extras.get("probe"):
            probes += 1
            continue
        records += 1
        sources[rewrite.source].add(rewrite)
        for name, value in rewrite.scores.items():
            if name == "nli":
                labels.update([nli_label(value)] if value else [])
            elif name in summarised and value is not None:
                for one in value if isinstance(value, list) else (value,):
                    values[name].add(one)
    return {
        "records": records,
        "probes": probes,
        "columns": {name: _distribution(values[name]) for name in summarised},
        "nli": dict(sorted(labels.items())),
        "sources": {name: tally.report() for name, tally in sorted(sources.items())},
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
