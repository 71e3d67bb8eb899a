"""Stage ``filter`` (section 3.3, Figure 10): scored rewrites -> PF-1M, rejects kept with their reasons.

Runs no model. Injected probes are judged like everything else, to measure the filters, and never enter PF-1M.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, variance
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from polite_flamingo.errors import DataError
from polite_flamingo.export.pf1m import Pf1mWriter
from polite_flamingo.filter.chain import Decision, FilterSettings, Thresholds, decide
from polite_flamingo.filter.decisions import FOLDER as DECISIONS
from polite_flamingo.filter.decisions import decision_row, schema
from polite_flamingo.filter.sets import ALL, judge_sets, switched_on
from polite_flamingo.filter.table import FOLDER as TABLE
from polite_flamingo.filter.table import count_rows
from polite_flamingo.io import Row, count_shards, read_shards, write_json, write_shard
from polite_flamingo.params import Params
from polite_flamingo.records import Rewrite
from polite_flamingo.reports.filtering.page import write_report
from polite_flamingo.reports.filtering.waterfall import filter_waterfall
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.world.truth import GroundTruth, load_ground_truth

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

ROWS_PER_SHARD = 10_000


def thresholds_of(settings: FilterSettings) -> Thresholds:
    """Plain thresholds from the `filter` section of the parameters."""
    return Thresholds(
        min_words=settings.length.min_words,
        max_words=settings.length.max_words,
        max_rouge_l=settings.change.max_rouge_l,
        min_cosine=settings.sts.min_cosine,
        min_cosine_per_task=tuple(sorted(settings.sts.per_task.items())),
        min_clip_logit=settings.paragraphs.min_clip_logit,
        nli_reject=tuple(settings.nli.reject),
        max_repeated_share=settings.repetition.max_share,
        max_boxes=settings.leaked_boxes.max_boxes,
        max_unsupported_objects=settings.unsupported_objects.max_objects,
        max_numbers_changed=settings.numbers.max_changed,
        reject_yes_no_flipped=settings.yes_no.reject_flipped,
        max_similarity=settings.near_duplicates.max_similarity,
        max_opening_share=settings.template.max_share,
    )


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Decide on every scored rewrite; write kept, rejected, decisions, pf1m.json; measure the filters by truth."""
    scored = params.data / "scored"
    out = params.data / "pf1m"
    thresholds = thresholds_of(params.filter)
    truth = Truth(load_ground_truth(params.image_root))
    total = count_shards(scored)
    if count_rows(scored / TABLE) != total:
        raise DataError("score table and records differ", where=scored, next_step="run `polite-flamingo score` again")
    sets = judge_sets(scored / TABLE, thresholds)
    tally = Tally(switched_on(thresholds))

    staging = out.with_name(f".{out.name}.publishing")
    shutil.rmtree(staging, ignore_errors=True)
    with (
        Pf1mWriter(staging / "pf1m.json") as pf1m,
        _Shards(staging / "kept") as kept,
        _Shards(staging / "rejected") as rejected,
        _Shards(staging / DECISIONS, schema()) as decisions,
    ):
        rows = tqdm(read_shards(scored), total=total, desc="filter", unit="rec", mininterval=1.0)
        for place, row in enumerate(rows):
            rewrite = Rewrite.from_row(row)
            decision = sets.apply(rewrite, decide(rewrite, thresholds), place)
            truth.add(rewrite, decision)
            if rewrite.extras.get("probe"):
                continue
            tally.add(rewrite, decision)
            decisions.write(decision_row(rewrite, decision))
            (kept if decision.kept else rejected).write(record_row(decision))
            if decision.kept:
                pf1m.write(decision.rewrite, decision.cut)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(staging, out)
    page = params.reports / "filtering.html"
    write_report(out, page, image_root=params.image_root, profile=params.profile, sets=sets.report)

    report = {
        **tally.report(),
        **truth.report(),
        "sets": dict(sets.report),
        "thresholds": asdict(thresholds),
        "overridden": _overridden(params),
    }
    write_json(params.reports / "filter.json", report)
    dropped = [(row["filter"], row["dropped"]) for row in report["filters"]]
    filter_waterfall(params.reports / "filter_waterfall.png", report["records"], dropped)
    tracker.params({f"filter.{name}": value for name, value in asdict(thresholds).items()})
    tracker.metrics({name: value for name, value in report.items() if isinstance(value, int | float)})
    logger.info("kept %s of %s", report["kept"], report["records"])
    return report


def record_row(decision: Decision) -> Row:
    """Row of a kept or rejected record: the rewrite's columns and reason, verdicts, cut (JSON)."""
    verdicts = {name: [r.score, r.threshold, r.passed] for name, r in decision.verdicts.items()}
    return {
        **decision.rewrite.to_row(),
        "reason": decision.reason or "",
        "verdicts": json.dumps(verdicts, ensure_ascii=False),
        "cut": json.dumps([list(pair) for pair in decision.cut], ensure_ascii=False),
    }


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
    rewards: list[tuple[float, float]] = field(default_factory=list)

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
            self.rewards.append((raw, rewritten))

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
            "reward": reward_summary(self.rewards),
        }


@dataclass
class Truth:
    """The filters against the ground truth of a rendered world; everything is None on real data.

    A corrupted record (answer changed, or an absent object named) is recalled when it is rejected or when the paragraph
    step has cut what was wrong. A clean record counts as kept when it is kept and still clean.
    """

    world: GroundTruth | None
    natural: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, rewrite: Rewrite, decision: Decision) -> None:
        """Compare one decision with the truth, where it is known."""
        if self.world is None:
            return
        before = self.world.judge_rewrite(rewrite)
        after = self.world.judge_rewrite(rewrite, decision.text)
        if before is None or after is None:
            return
        kept_wrong = decision.kept and after.corrupted
        kept_right = decision.kept and not after.corrupted
        seen = {
            "judged": True,
            "preserved": before.answer_preserved,
            "kept": decision.kept,
            "kept_preserved": decision.kept and after.answer_preserved,
            "kept_corrupted": kept_wrong,
            "corrupted": before.corrupted,
            "recalled": before.corrupted and not kept_wrong,
            "clean": not before.corrupted,
            "clean_kept": not before.corrupted and kept_right,
        }
        probe = str(rewrite.extras.get("probe") or "")
        counter = self.probes if probe else self.natural
        counter.update(name for name, true in seen.items() if true)
        if before.corrupted:
            kind = self.kinds.setdefault(probe or "natural", Counter())
            kind.update(("corrupted", "recalled") if seen["recalled"] else ("corrupted",))

    def report(self) -> dict[str, Any]:
        """Shares, None where there is nothing to count."""
        n, p = self.natural, self.probes
        both = n + p
        return {
            "answer_preserved_before": _share(n["preserved"], n["judged"]),
            "answer_preserved_after": _share(n["kept_preserved"], n["kept"]),
            "corrupted_after": _share(n["kept_corrupted"], n["kept"]),
            "recall_of_corrupted": _share(both["recalled"], both["corrupted"]),
            "clean_kept": _share(both["clean_kept"], both["clean"]),
            "recall_natural": _share(n["recalled"], n["corrupted"]),
            "clean_kept_natural": _share(n["clean_kept"], n["clean"]),
            "recall_probes": _share(p["recalled"], p["corrupted"]),
            "judged": n["judged"],
            "natural_corrupted": n["corrupted"],
            "probes": p["judged"],
            "corruptions": {
                kind: {"records": c["corrupted"], "recalled": c["recalled"]} for kind, c in sorted(self.kinds.items())
            },
        }


def reward_summary(rewards: list[tuple[float, float]]) -> dict[str, Any]:
    """Mean reward of raw and rewritten answers of the kept records, and their pooled standard deviation."""
    if len(rewards) < 2:
        return {"raw": None, "rewritten": None, "pooled_sd": None, "records": len(rewards)}
    raw, rewritten = [r for r, _ in rewards], [w for _, w in rewards]
    return {
        "raw": round(fmean(raw), 4),
        "rewritten": round(fmean(rewritten), 4),
        "pooled_sd": round(((variance(raw) + variance(rewritten)) / 2) ** 0.5, 4),
        "records": len(rewards),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _overridden(params: Params) -> Mapping[str, Any]:
    """Thresholds this profile calibrated for its own scorers: name -> [the paper's, the profile's]."""
    return {name: list(values) for name, values in params.overridden.items() if name.startswith("filter.")}


class _Shards:
    """A shard folder written row by row."""

    def __init__(self, folder: Path, schema: pa.Schema | None = None) -> None:
        self._folder = folder
        self._schema = schema
        self._rows: list[Row] = []
        self._index = 0

    def __enter__(self) -> _Shards:
        self._folder.mkdir(parents=True)
        return self

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == ROWS_PER_SHARD:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            write_shard(self._folder / f"part-{self._index:06d}.parquet", self._rows, self._schema)
            self._index += 1
            self._rows = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
