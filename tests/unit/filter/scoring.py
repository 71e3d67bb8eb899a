"""Score columns for tests, as the stage `score` writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polite_flamingo.filter.chain import Decision, Filter, FilterSettings
from polite_flamingo.filter.chain import decide as decide_batch
from polite_flamingo.filter.decisions import decision_row, record_row, schema
from polite_flamingo.filter.table import batch_of
from polite_flamingo.io.shards import write_shard, write_shards
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.columns import BY_CUT, COLUMNS
from polite_flamingo.scorers.text import cut_texts, text_scores


def with_columns(rewrite: Rewrite, **scores: Any) -> Rewrite:
    """The record with every column: those named, those that need no model, None for the rest."""
    chosen = {**rewrite.scores, **scores}
    texts = cut_texts(rewrite, chosen.get("clip_logits"))
    columns = {**text_scores(rewrite, texts), **chosen}
    for name in BY_CUT if texts is not None else ():
        if columns.get(name) is not None:
            columns.setdefault(f"{name}_by_cut", [columns[name]] * len(texts))
    return replace(rewrite, scores={name: columns.get(name) for name in COLUMNS})


@dataclass(frozen=True)
class Verdict:
    """What one filter says about one record; no reason: it may stay."""

    reason: str | None
    score: float | None

    @property
    def kept(self) -> bool:
        return self.reason is None


def judge(one: Filter, rewrite: Rewrite) -> Verdict:
    """What one filter says about one record."""
    batch = batch_of([rewrite])
    verdicts = one.judge(batch)
    score = float(verdicts.score[0])
    return Verdict(one.reason(batch, 0) if verdicts.rejected[0] else None, None if math.isnan(score) else score)


def decide_records(rewrites: Sequence[Rewrite], settings: FilterSettings) -> list[Decision]:
    """What becomes of a few records."""
    return [decision for _, decision in decide_batch(batch_of(rewrites), settings).on(rewrites)]


def decide(rewrite: Rewrite, settings: FilterSettings) -> Decision:
    """What becomes of one record."""
    (decision,) = decide_records([rewrite], settings)
    return decision


def write_decided(pf1m: Path, decided: Iterable[tuple[Rewrite, Decision]]) -> None:
    """Records with the decisions on them, as the stage `filter` leaves them."""
    pairs = list(decided)
    write_shards(pf1m / "decisions", [])
    write_shard(pf1m / "decisions" / "part-000000.parquet", [decision_row(*pair) for pair in pairs], schema())
    for state, kept in (("kept", True), ("rejected", False)):
        write_shards(pf1m / state, [record_row(decision) for _, decision in pairs if decision.kept is kept])
