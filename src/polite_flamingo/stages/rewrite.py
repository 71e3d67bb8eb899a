"""Stage ``rewrite`` (section 3.2): raw annotations -> polite responses, through the engine; resumable by call.

Reads  : data/P/samples/annotation, models/P/backbones/flamingo, models/P/rewriter.
Writes : data/P/rewrites (records without scores, and ``quarantine.jsonl``), reports/P/rewrite.json.

Where the world's ground truth is known, corrupted copies of clean rewrites (``extras["probe"]`` names the kind, ids end
with ``!probe``) are added, because a good rewriter makes too few errors to measure the filters with. They are scored
and judged like all others, reported, and never part of what is trained on.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.io import Row, count_shards, read_shards, write_json, write_jsonl, write_shards
from polite_flamingo.jobs import engine
from polite_flamingo.jobs.executors import make_executor
from polite_flamingo.jobs.journal import storage_errors
from polite_flamingo.jobs.repair import DONE, RAW, Outcome
from polite_flamingo.params import Params
from polite_flamingo.records import Reject, Rewrite, Sample
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.world.truth import GroundTruth, corrupt, load_ground_truth

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings

logger = logging.getLogger(__name__)

PROBE = "!probe"  # ends the id of an injected corruption


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Rewrite every annotation, add probes, report counts.

    Raises:
        DataError: there is no annotation.
        QualityError: more annotations than ``quality.max_rejected_share`` have unusable images or got no answer.
    """
    source = params.data / "samples" / "annotation"
    total = count_shards(source) if source.is_dir() else 0
    if total == 0:
        raise DataError("no annotation samples", where=source, next_step="run `polite-flamingo download`")
    # Unfinished work keeps its own place until the published folder is complete.
    journal = Path(".work") / f"rewrite-{params.profile}" / "journal"
    executor = make_executor(params, params.rewriter_backend, rewriting_settings(params))
    try:
        done = engine.run(
            (engine.as_request(sample) for sample in _samples(source)),
            executor,
            journal=journal,
            image_root=params.image_root,
            policy=params.rewriter.repair,
            total=total,
            label="rewrite",
            tracker=tracker,
            image_threads=params.runtime.threads,
        )
    finally:
        executor.close()
    logger.info("%d records rewritten, %d of them by an earlier run", done.done, done.restored)
    lost = list(_lost(source, journal))
    share = len(lost) / total
    if share > params.quality.max_rejected_share:
        raise QualityError(
            f"{len(lost)} of {total} annotations could not be rewritten",
            value=[f"{row['row']}: {row['reason']}" for row in lost[:5]],
            where=params.image_root,
            next_step="repair what the reasons name or raise quality.max_rejected_share; finished records are kept",
        )
    world = load_ground_truth(params.image_root)
    probes = (
        [] if world is None else make_probes(world, list(_rewrites(source, journal)), params.limits.probes, params.seed)
    )
    out = params.data / "rewrites"
    counts = _Counts(world)
    with storage_errors(out, "publish"):
        rewrites = (counts.add(rewrite, outcome) for rewrite, outcome in _joined(source, journal))
        write_shards(out, (rewrite.to_row() for rewrite in chain(rewrites, probes)))
        write_jsonl(out / "quarantine.jsonl", lost)
    report = counts.report(probes, lost)
    write_json(params.reports / "rewrite.json", report)
    tracker.params(params.generation.model_dump())
    tracker.metrics({k: float(v) for k, v in report.items() if isinstance(v, int | float)})
    shutil.rmtree(journal.parent, ignore_errors=True)
    return report


def rewriting_settings(params: Params) -> GenerationSettings:
    """How the rewriter decodes."""
    from polite_flamingo.model.settings import GenerationSettings

    return GenerationSettings.of(params.generation, seed=params.seed)


def make_probes(world: GroundTruth, rewrites: Sequence[Rewrite], count: int, seed: int) -> list[Rewrite]:
    """At most `count` corrupted copies of rewrites that the ground truth finds clean, in order of id."""
    clean = []
    for rewrite in sorted(rewrites, key=lambda r: r.id):
        judged = world.judge_rewrite(rewrite)
        if judged is not None and not judged.corrupted:
            clean.append(rewrite)
    Random(f"{seed}:probes").shuffle(clean)
    probes: list[Rewrite] = []
    for rewrite in clean:
        if len(probes) >= count:
            break
        made = corrupt(world, rewrite, Random(f"{seed}:{rewrite.id}:probe"))
        if made is not None:
            text, kind = made
            probes.append(
                replace(rewrite, id=rewrite.id + PROBE, rewritten=text, extras={**rewrite.extras, "probe": kind})
            )
    return sorted(probes, key=lambda r: r.id)


def _samples(source: Path) -> Iterator[Sample]:
    for row in read_shards(source):
        yield Sample.from_row(row)


def _joined(source: Path, journal: Path) -> Iterator[tuple[Rewrite, Outcome]]:
    """Every answered sample with its outcome, in input order."""
    for sample, outcome in zip(_samples(source), engine.outcomes(journal), strict=True):
        if outcome.id != sample.id:
            raise DataError(
                "the journal belongs to other samples", value=(sample.id, outcome.id), where=journal,
                next_step="delete it and run the stage again",
            )  # fmt: skip
        if outcome.answered:
            yield engine.as_rewrite(sample, outcome), outcome


def _rewrites(source: Path, journal: Path) -> Iterator[Rewrite]:
    for rewrite, _ in _joined(source, journal):
        yield rewrite


def _lost(source: Path, journal: Path) -> Iterator[Row]:
    for sample, outcome in zip(_samples(source), engine.outcomes(journal), strict=True):
        if not outcome.answered:
            yield Reject(sample.source, "samples/annotation", sample.id, outcome.finish_reason).to_row()


@dataclass(slots=True)
class _Counts:
    """What the report says, counted while the records pass by."""

    world: GroundTruth | None
    rewritten: int = 0
    cut_off: int = 0
    unchanged: int = 0
    empty: int = 0
    words_raw: int = 0
    words_rewritten: int = 0
    repaired: int = 0
    kept_raw: int = 0
    tokens: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    saved: Counter[str] = field(default_factory=Counter)
    judged: list[tuple[str, bool, bool]] = field(default_factory=list)

    def add(self, rewrite: Rewrite, outcome: Outcome) -> Rewrite:
        """Count a record and hand it on."""
        self.rewritten += 1
        self.cut_off += rewrite.finish_reason == "length"
        self.unchanged += rewrite.rewritten.strip() == rewrite.raw_answer.strip()
        self.empty += not rewrite.rewritten.strip()
        self.words_raw += len(rewrite.raw_answer.split())
        self.words_rewritten += len(rewrite.rewritten.split())
        self.tokens += outcome.tokens
        self.by_source[rewrite.source] += 1
        if outcome.attempts:
            self.faults[outcome.fault] += 1
            self.repaired += outcome.status == DONE
            self.kept_raw += outcome.status == RAW
            self.saved[outcome.fault] += outcome.status == DONE
        if self.world is not None and (found := self.world.judge_rewrite(rewrite)) is not None:
            self.judged.append((str(rewrite.task), found.answer_preserved, bool(found.hallucinated)))
        return rewrite

    def report(self, probes: Sequence[Rewrite], lost: Sequence[Row]) -> dict[str, Any]:
        """All figures."""
        report: dict[str, Any] = {
            "annotations": self.rewritten + len(lost),
            "rewritten": self.rewritten,
            "lost": len(lost),
            "probes": len(probes),
            "probes_by_kind": dict(sorted(Counter(str(p.extras["probe"]) for p in probes).items())),
            "cut_off": self.cut_off,
            "unchanged": self.unchanged,
            "empty": self.empty,
            "mean_words_raw": _share(self.words_raw, self.rewritten),
            "mean_words_rewritten": _share(self.words_rewritten, self.rewritten),
            "by_source": dict(sorted(self.by_source.items())),
            "generated_tokens": self.tokens,
            "repair": {
                "tried": self.faults.total(),
                "saved": self.repaired,
                "kept_raw": self.kept_raw,
                "tried_by_fault": dict(sorted(self.faults.items())),
                "saved_by_fault": dict(sorted((+self.saved).items())),
            },
        }
        if self.world is not None:
            report["judged"] = len(self.judged)
            report["answer_preserved"] = _mean([preserved for _, preserved, _ in self.judged])
            report["hallucinated"] = _mean([hallucinated for _, _, hallucinated in self.judged])
            report["answer_preserved_by_task"] = {
                task: _mean([preserved for t, preserved, _ in self.judged if t == task])
                for task in sorted({task for task, _, _ in self.judged})
            }
        return report


def _mean(values: Sequence[bool]) -> float | None:
    return _share(sum(values), len(values))


def _share(total: int, count: int) -> float | None:
    return round(total / count, 4) if count else None
