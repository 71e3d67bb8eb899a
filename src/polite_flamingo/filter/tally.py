"""What the filters took, counted while the decisions pass by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from polite_flamingo.filter.chain import Decision
from polite_flamingo.filter.sets import ALL
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.value_counts import ValueCounts


@dataclass
class Tally:
    """Counts per filter, source and task, and rewards, of the natural records.

    Args:
        filters: Names of the filters that can reject.
    """

    filters: Sequence[str] = ALL
    records: int = 0
    kept: int = 0
    edited: int = 0
    cut_paragraphs: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    alone: Counter[str] = field(default_factory=Counter)
    applied: Counter[str] = field(default_factory=Counter)
    sources: dict[str, Counter[str]] = field(default_factory=dict)
    tasks: dict[str, Counter[str]] = field(default_factory=dict)
    reward_raw: ValueCounts = field(default_factory=ValueCounts)
    reward: ValueCounts = field(default_factory=ValueCounts)

    def add(self, rewrite: Rewrite, decision: Decision) -> None:
        """Count one decision."""
        self.records += 1
        fate = "kept" if decision.kept else str(decision.failed)
        for groups, name in ((self.sources, rewrite.source), (self.tasks, str(rewrite.task))):
            groups.setdefault(name, Counter()).update(("records", fate))
        for name, result in decision.verdicts.items():
            self.alone[name] += not result.passed
            self.applied[name] += result.score is not None or name == "unfinished"
        if not decision.kept:
            self.dropped[fate] += 1
            return
        self.kept += 1
        self.edited += bool(decision.cut)
        self.cut_paragraphs += len(decision.cut)
        raw, rewritten = rewrite.scores.get("reward_raw"), rewrite.scores.get("reward")
        if raw is not None and rewritten is not None:
            self.reward_raw.add(raw)
            self.reward.add(rewritten)

    def report(self) -> dict[str, Any]:
        """JSON values only."""
        counts = {"kept": self.kept, **{name: self.dropped[name] for name in self.filters}}
        return {
            "records": self.records,
            "kept": self.kept,
            "rejected": self.records - self.kept,
            "kept_share": _share(self.kept, self.records),
            "edited": self.edited,
            "cut_paragraphs": self.cut_paragraphs,
            "counts": counts,
            "filters": [
                {
                    "filter": name,
                    "applied": self.applied[name],
                    "would_drop_alone": self.alone[name],
                    "dropped": self.dropped[name],
                }
                for name in self.filters
            ],
            "sources": {name: dict(sorted(counts.items())) for name, counts in sorted(self.sources.items())},
            "tasks": {name: dict(sorted(counts.items())) for name, counts in sorted(self.tasks.items())},
            "reward": reward_summary(self.reward_raw, self.reward),
        }


def reward_summary(raw: ValueCounts, rewritten: ValueCounts) -> dict[str, Any]:
    """Mean reward of raw and rewritten answers of the kept records, and their pooled standard deviation."""
    if raw.total < 2:
        return {"raw": None, "rewritten": None, "pooled_sd": None, "records": raw.total}
    return {
        "raw": round(raw.mean(), 4),
        "rewritten": round(rewritten.mean(), 4),
        "pooled_sd": round(((raw.variance() + rewritten.variance()) / 2) ** 0.5, 4),
        "records": raw.total,
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
