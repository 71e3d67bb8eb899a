"""Stage ``rewrite`` (section 3.2): raw annotations -> polite responses; resumable by chunk.

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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.errors import DataError, ImageError, QualityError
from polite_flamingo.evaluate.ground_truth import World, corrupt, load_world
from polite_flamingo.io import (
    Row,
    fingerprint,
    open_image,
    read_shards,
    resumable,
    write_json,
    write_jsonl,
    write_shards,
)
from polite_flamingo.params import Params
from polite_flamingo.prompts.templates import rewriter_prompt
from polite_flamingo.records import Reject, Rewrite, Sample
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)

CHUNK = 128  # samples recomputed at most after a kill
PROBE = "!probe"  # ends the id of an injected corruption


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Rewrite every annotation, add probes, report counts.

    Raises:
        DataError: there is no annotation.
        QualityError: more annotations have unusable images than ``quality.max_rejected_share``.
    """
    source = params.data / "samples" / "annotation"
    samples = [Sample.from_row(row) for row in read_shards(source)]
    if not samples:
        raise DataError("no annotation samples", where=source, next_step="run `polite-flamingo download`")
    base, rewriter = params.models / "backbones" / "flamingo", params.models / "rewriter"
    key = fingerprint(
        source, base, rewriter, params.generation.model_dump(), params.seed, rewriter_prompt("{}", "{}", 1), CHUNK
    )
    # Unfinished work keeps its own place until the published folder is complete.
    work = Path(".work") / f"rewrite-{params.profile}" / key / "rows"
    if not work.is_dir():
        resumable(
            samples,
            _Work(params, base, rewriter),
            out=work,
            key=key,
            chunk_size=CHUNK,
            total=len(samples),
            label="rewrite",
        )
    rewrites = [Rewrite.from_row(row) for row in read_shards(work)]
    lost = _lost(samples, rewrites, params.image_root)
    share = len(lost) / len(samples)
    if share > params.quality.max_rejected_share:
        raise QualityError(
            f"{len(lost)} of {len(samples)} annotations have unusable images",
            value=[row["row"] for row in lost[:5]],
            where=params.image_root,
            next_step="repair the images or raise quality.max_rejected_share",
        )
    world = load_world(params.image_root)
    probes = [] if world is None else make_probes(world, rewrites, params.limits.probes, params.seed)
    out = params.data / "rewrites"
    write_shards(out, [rewrite.to_row() for rewrite in (*rewrites, *probes)])
    write_jsonl(out / "quarantine.jsonl", lost)
    report = _report(rewrites, probes, lost, world)
    write_json(params.reports / "rewrite.json", report)
    tracker.params(params.generation.model_dump())
    tracker.metrics({k: float(v) for k, v in report.items() if isinstance(v, int | float)})
    shutil.rmtree(work.parent.parent, ignore_errors=True)
    return report


class _Work:
    """Rewrites a chunk; the model is loaded at the first one."""

    def __init__(self, params: Params, base: Path, rewriter: Path) -> None:
        self._params, self._base, self._rewriter = params, base, rewriter
        self._bundle: Any = None

    def __call__(self, chunk: list[Sample]) -> list[Row]:
        from polite_flamingo.model.generate import GenerationSettings
        from polite_flamingo.rewrite.engine import as_rewrite, rewrite

        params = self._params
        if self._bundle is None:
            self._bundle = self._load()
        usable = [s for s in chunk if not _broken(s, params.image_root)]
        answers = rewrite(
            self._bundle,
            usable,
            GenerationSettings(**params.generation.model_dump(), seed=params.seed),
            image_root=params.image_root,
            batch_size=params.runtime.generation_batch_size,
        )
        return [as_rewrite(s, a).to_row() for s, a in zip(usable, answers, strict=True)]

    def _load(self) -> Any:
        import torch

        from polite_flamingo.model.flamingo import load_flamingo

        runtime = self._params.runtime
        torch.set_num_threads(runtime.threads)
        return load_flamingo(self._base, device=runtime.device, dtype=runtime.dtype, trainables=self._rewriter)


def make_probes(world: World, rewrites: Sequence[Rewrite], count: int, seed: int) -> list[Rewrite]:
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


def _broken(sample: Sample, root: Path) -> str | None:
    """Reason why an image of a sample cannot be used."""
    for image in sample.images:
        try:
            open_image(root, image.path)
        except ImageError as error:
            return f"{error.what}: {image.path}"
    return None


def _lost(samples: Sequence[Sample], rewrites: Sequence[Rewrite], root: Path) -> list[Row]:
    done = {rewrite.id for rewrite in rewrites}
    return [
        Reject(s.source, "samples/annotation", s.id, _broken(s, root) or "not rewritten").to_row()
        for s in samples
        if s.id not in done
    ]


def _report(
    rewrites: Sequence[Rewrite], probes: Sequence[Rewrite], lost: Sequence[Row], world: World | None
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "annotations": len(rewrites) + len(lost),
        "rewritten": len(rewrites),
        "lost": len(lost),
        "probes": len(probes),
        "probes_by_kind": dict(sorted(Counter(str(p.extras["probe"]) for p in probes).items())),
        "cut_off": sum(r.finish_reason == "length" for r in rewrites),
        "unchanged": sum(r.rewritten.strip() == r.raw_answer.strip() for r in rewrites),
        "empty": sum(not r.rewritten.strip() for r in rewrites),
        "mean_words_raw": _mean([len(r.raw_answer.split()) for r in rewrites]),
        "mean_words_rewritten": _mean([len(r.rewritten.split()) for r in rewrites]),
        "by_source": dict(sorted(Counter(r.source for r in rewrites).items())),
    }
    if world is not None:
        judged = [(r.task, j) for r in rewrites if (j := world.judge_rewrite(r)) is not None]
        report["judged"] = len(judged)
        report["answer_preserved"] = _mean([j.answer_preserved for _, j in judged])
        report["hallucinated"] = _mean([bool(j.hallucinated) for _, j in judged])
        report["answer_preserved_by_task"] = {
            str(task): _mean([j.answer_preserved for t, j in judged if t is task])
            for task in sorted({t for t, _ in judged})
        }
    return report


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
