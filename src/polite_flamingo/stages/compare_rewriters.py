"""Stage ``compare_rewriters`` (section 5.4): both generations of the rewriter revise the same drafts.

Reads  : data/P/pairs (held out), data/P/samples/annotation, models/P/{rewriter,second_rewriter}, models/P/backbones.
Writes : reports/P/second_generation.json (`evaluate.generations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.generations import (
    DEFINITIONS,
    Figures,
    annotation_drafts,
    by_source,
    compare,
    draft_figures,
)
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import write_json
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Generated, RewritePair, Sample
from polite_flamingo.scorers.load import ABSENT, SCORERS, recipe_of
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.train.held_out import draw_held_out

GENERATIONS = {"first": "rewriter", "second": "second_rewriter"}


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Revise, score and compare.

    Raises:
        DataError: there is no held-out pair.
        ModelError: a rewriter is missing.
    """
    import torch

    torch.set_num_threads(params.runtime.threads)
    pairs = map(RewritePair.from_row, read_shards(params.data / "pairs"))
    held_out = draw_held_out([pair for pair in pairs if pair.split == "held_out"], params.seed)
    if not held_out:
        raise DataError("no held-out pairs", where=params.data / "pairs", next_step="run `polite-flamingo distort`")
    annotations = map(Sample.from_row, read_shards(params.data / "samples" / "annotation"))
    drafts = {"held_out_pairs": held_out, "annotations": annotation_drafts(annotations, params.seed)}
    scorers = {
        name: recipe_of(name, params.runtime, params.models, params.image_root, params.score.clip_mode).load()
        for name in SCORERS
        if getattr(params.backbones, name) != ABSENT
    }
    figures: dict[str, dict[str, Figures]] = {kind: {} for kind in drafts}
    for generation, name in GENERATIONS.items():
        answers = _revise(params, name, generation, drafts)
        for kind, own in drafts.items():
            figures[kind][generation] = draft_figures(own, answers[kind], scorers)
    report: dict[str, Any] = {}
    for kind, of in figures.items():
        resamples = params.evaluate.bootstrap_samples
        compared = compare(of["first"], of["second"], resamples=resamples, seed=params.seed, kind=kind)
        report[kind] = {"drafts": len(drafts[kind]), **compared, "sources": by_source(drafts[kind], of)}
    report["definitions"] = DEFINITIONS
    write_json(params.reports / "second_generation.json", report)
    tracker.metrics(
        {
            f"{kind}/{name}": figure["value"]
            for kind in drafts
            for name, figure in report[kind]["difference"].items()
            if figure["value"] is not None
        }
    )
    return report


def _revise(
    params: Params, name: str, generation: str, drafts: dict[str, list[RewritePair]]
) -> dict[str, Sequence[Generated]]:
    """What a rewriter makes of each kind of drafts."""
    from polite_flamingo.model.flamingo import load_flamingo
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.rewrite.revision import revise

    runtime = params.runtime
    bundle = load_flamingo(
        params.models / "backbones" / "flamingo",
        device=runtime.device,
        dtype=runtime.dtype,
        trainables=params.models / name,
    )
    settings = GenerationSettings.of(params.generation, seed=params.seed)
    return {
        kind: revise(
            bundle,
            own,
            settings,
            image_root=params.image_root,
            batch_size=runtime.generation_batch_size,
            progress=f"{generation} generation",
        )
        for kind, own in drafts.items()
    }
