"""Stage ``compare_rewriters`` (section 5.4): both generations of the rewriter revise the same drafts.

Reads  : data/P/pairs (held out), data/P/samples/annotation, models/P/{rewriter,second_rewriter}, models/P/backbones.
Writes : reports/P/second_generation.json.

Two kinds of drafts. *Held-out pairs*: distorted responses, compared with the originals. *Annotations*: raw answers,
compared with themselves, as in the filters. The figures are those of the scorers (Table 3's columns as far as they are
known to us, docs/paper_index.md), each with its interval; the difference is paired, draft by draft.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.bootstrap import bootstrap_mean
from polite_flamingo.io import read_shards, write_json
from polite_flamingo.params import Params
from polite_flamingo.records import Generated, Rewrite, RewritePair, Sample
from polite_flamingo.scorers.load import ABSENT, SCORERS, recipe_of
from polite_flamingo.scorers.nli import nli_label
from polite_flamingo.scorers.rouge import rouge_l, rouge_score
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.train.held_out import draw_held_out

LOG = logging.getLogger(__name__)

GENERATIONS = {"first": "rewriter", "second": "second_rewriter"}
ANNOTATED = "annotation"  # strategy of a draft that nothing distorted
ANNOTATIONS = 150  # most annotations that are rewritten for the figures

Figures = dict[str, list[float | None]]

DEFINITIONS = {
    "rouge_l": "Rouge-L (F, Porter stemmer) of the revised response with the original, or with the annotation",
    "rouge_l_gain": "the same minus Rouge-L of the draft with the original; of held-out pairs",
    "sts": "cosine of sentence embeddings with the original, or with the annotation",
    "entailed": "share that entails the original, or the annotation, by the NLI judge; of questions",
    "contradicted": "share that contradicts it; of questions",
    "clip_logit": "100 x cosine with the image, mean of the paragraphs; of captions",
    "reward": "mean score of the reward model, no unit",
    "words": "mean number of words",
}


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Revise, score and compare.

    Raises:
        DataError: there is no held-out pair.
        ModelError: a rewriter is missing.
    """
    import torch

    torch.set_num_threads(params.runtime.threads)
    pairs = (RewritePair.from_row(row) for row in read_shards(params.data / "pairs"))
    held_out = draw_held_out([pair for pair in pairs if pair.split == "held_out"], params.seed)
    if not held_out:
        raise DataError("no held-out pairs", where=params.data / "pairs", next_step="run `polite-flamingo distort`")
    drafts = {"held_out_pairs": held_out, "annotations": _annotations(params)}
    scorers = {
        name: recipe_of(name, params.runtime, params.models, params.image_root, params.score.clip_mode).load()
        for name in SCORERS
        if getattr(params.backbones, name) != ABSENT
    }
    figures: dict[str, dict[str, Figures]] = {kind: {} for kind in drafts}
    for generation, name in GENERATIONS.items():
        revise = _reviser(params, name, generation)
        for kind, found in drafts.items():
            figures[kind][generation] = _figures(found, revise(found), scorers)
    report: dict[str, Any] = {
        kind: {"drafts": len(drafts[kind]), **_compare(params, kind, found)} for kind, found in figures.items()
    }
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


def _annotations(params: Params) -> list[RewritePair]:
    """Raw annotations as drafts, at most `ANNOTATIONS`, drawn with the seed, in order of id."""
    rows = sorted(read_shards(params.data / "samples" / "annotation"), key=lambda row: row["id"])
    if len(rows) > ANNOTATIONS:
        rows = sorted(Random(f"{params.seed}:annotations").sample(rows, ANNOTATIONS), key=lambda row: row["id"])
    drafts = []
    for sample in map(Sample.from_row, rows):
        asked = sample.answered(sample.response)
        drafts.append(
            RewritePair(
                *(sample.id, sample.id, sample.source, sample.split, sample.task, asked.instruction, asked.images),
                drafted=sample.response,
                revised=sample.response,
                strategy=ANNOTATED,
                command="",
                seed=params.seed,
            )
        )
    return drafts


def _reviser(params: Params, name: str, generation: str) -> Callable[[Sequence[RewritePair]], list[Generated]]:
    """Load a rewriter; what it returns revises drafts."""
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
    return lambda drafts: revise(
        bundle,
        drafts,
        settings,
        image_root=params.image_root,
        batch_size=runtime.generation_batch_size,
        progress=f"{generation} generation",
    )


def _figures(drafts: Sequence[RewritePair], answers: Sequence[Generated], scorers: Mapping[str, Any]) -> Figures:
    """Every figure of every draft, in their order; None where it does not apply."""
    rewrites = [_record(pair, made) for pair, made in zip(drafts, answers, strict=True)]
    nothing: list[Any] = [None] * len(rewrites)
    scores: dict[str, list[Any]] = {n: scorers[n].score(rewrites) if n in scorers else nothing for n in SCORERS}
    labels = [None if logits is None else nli_label(logits) for logits in scores["nli"]]
    shared = [rouge_score(rewrite) for rewrite in rewrites]
    before = [None if p.strategy == ANNOTATED else rouge_l(p.drafted, p.revised) for p in drafts]
    return {
        "rouge_l": [*shared],
        "rouge_l_gain": [None if b is None else after - b for after, b in zip(shared, before, strict=True)],
        "sts": scores["sts"],
        "entailed": [None if label is None else float(label == "entailment") for label in labels],
        "contradicted": [None if label is None else float(label == "contradiction") for label in labels],
        "clip_logit": [fmean(logits) if logits else None for logits in scores["clip"]],
        "reward": scores["reward"],
        "words": [float(len(r.rewritten.split())) for r in rewrites],
    }


def _record(pair: RewritePair, made: Generated) -> Rewrite:
    return Rewrite(
        *(pair.id, pair.source, pair.split, "", pair.task, pair.instruction, pair.images, pair.revised, made.text),
        made.finish_reason,
    )


def _compare(params: Params, kind: str, found: dict[str, Figures]) -> dict[str, Any]:
    """Mean and interval of each figure of both, and of the paired difference second minus first."""
    compared: dict[str, Any] = {generation: {} for generation in (*GENERATIONS, "difference")}
    for name in DEFINITIONS:
        first, second = found["first"][name], found["second"][name]
        both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
        values = {
            "first": [a for a, _ in both],
            "second": [b for _, b in both],
            "difference": [b - a for a, b in both],
        }
        for generation, numbers in values.items():
            compared[generation][name] = bootstrap_mean(
                numbers,
                resamples=params.evaluate.bootstrap_samples,
                seed=params.seed,
                purpose=f"{kind}:{generation}:{name}",
            ).to_json()
    return compared
