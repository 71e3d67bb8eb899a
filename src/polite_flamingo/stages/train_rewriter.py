"""Stage ``train_rewriter`` (section 3.2): OpenFlamingo with LoRA learns to undo the distortions.

Reads  : data/P/pairs, models/P/backbones/flamingo.
Writes : models/P/rewriter, reports/P/train_rewriter.json, reports/P/train_rewriter/loss.png.

Measured on held-out pairs: ``rouge_l_gain`` is Rouge-L of the revised response with the original minus Rouge-L of the
drafted response with the original.
"""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io import read_shards, write_json
from polite_flamingo.params import Params
from polite_flamingo.records import RewritePair
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)

HELD_OUT_PAIRS = 150  # most held-out pairs that are revised for the figures


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Train the rewriter, save it, measure it on held-out pairs.

    Raises:
        DataError: there is no pair to train on or to measure with.
    """
    import torch

    from polite_flamingo.model.checkpoint import save_trainables
    from polite_flamingo.model.flamingo import load_flamingo
    from polite_flamingo.model.freezing import set_trainable
    from polite_flamingo.model.generate import GenerationSettings
    from polite_flamingo.model.lora import LoraSettings, inject_lora, merge_lora
    from polite_flamingo.rewrite.engine import revise
    from polite_flamingo.scorers.rouge import rouge_l
    from polite_flamingo.train.dialogue import encode_pair
    from polite_flamingo.train.loop import TrainSettings, mean_loss, train

    settings, runtime = params.rewriter, params.runtime
    torch.set_num_threads(runtime.threads)
    pairs = [RewritePair.from_row(row) for row in read_shards(params.data / "pairs")]
    learned = [pair for pair in pairs if pair.split == "train"]
    held_out = draw_held_out([pair for pair in pairs if pair.split == "held_out"], params.seed)
    for name, group in (("train", learned), ("held_out", held_out)):
        if not group:
            raise DataError(
                "no pairs of this split",
                value=name,
                where=params.data / "pairs",
                next_step="run `polite-flamingo distort` with more responses",
            )

    bundle = load_flamingo(params.models / "backbones" / "flamingo", device=runtime.device, merge=False)
    inject_lora(bundle, LoraSettings(**settings.lora.model_dump()), seed=params.seed)
    trainable = set_trainable(bundle, ["lora"])

    def encoded(group: Sequence[RewritePair]) -> list[Any]:
        return [e for p in group if (e := encode_pair(bundle.tokenizer, p, settings.context_length)) is not None]

    examples, unseen = encoded(learned), encoded(held_out)
    skipped = len(learned) - len(examples)
    if skipped:
        logger.warning("%d pairs leave no room for the revised response and were skipped", skipped)
    tracker.params({"pairs": len(examples), "trainable": sum(trainable.values()), **settings.model_dump()})
    result = train(
        bundle,
        examples,
        TrainSettings(
            **settings.model_dump(exclude={"lora", "context_length", "repair"}),
            seed=params.seed,
            micro_batch_size=runtime.micro_batch_size,
            bf16=runtime.dtype == "bfloat16",
        ),
        image_root=params.image_root,
        out=params.reports / "train_rewriter",
        tracker=tracker,
        label=f"train_rewriter-{params.profile}",
    )
    folder: Path = params.models / "rewriter"
    shutil.rmtree(folder, ignore_errors=True)
    save_trainables(bundle, folder)

    held_out_loss = mean_loss(bundle, unseen, image_root=params.image_root) if unseen else None
    merge_lora(bundle)
    bundle.cast(runtime.dtype)
    revised = revise(
        bundle,
        held_out,
        GenerationSettings(**params.generation.model_dump(), seed=params.seed),
        image_root=params.image_root,
        batch_size=runtime.generation_batch_size,
        progress="revise held-out",
    )
    scores = [
        (pair.strategy, rouge_l(pair.drafted, pair.revised), rouge_l(answer.text, pair.revised))
        for pair, answer in zip(held_out, revised, strict=True)
    ]
    report = {
        **_figures(scores),
        "per_strategy": _per_strategy(scores),
        "held_out_loss": None if held_out_loss is None else round(held_out_loss, 4),
        "held_out_pairs": len(held_out),
        "train_pairs": len(examples),
        "skipped_pairs": skipped,
        "steps": result.steps,
        "tokens": result.tokens,
        "first_loss": round(result.losses[0], 4),
        "final_loss": round(result.final_loss, 4),
        "trainable": trainable,
        "cut_off": sum(answer.finish_reason == "length" for answer in revised),
    }
    write_json(params.reports / "train_rewriter.json", report)
    tracker.metrics({k: v for k, v in report.items() if isinstance(v, float)})
    return report


def draw_held_out(pairs: Sequence[RewritePair], seed: int) -> list[RewritePair]:
    """At most `HELD_OUT_PAIRS` pairs, drawn with `seed`, in order of id."""
    ordered = sorted(pairs, key=lambda pair: pair.id)
    if len(ordered) > HELD_OUT_PAIRS:
        ordered = Random(f"{seed}:held_out_pairs").sample(ordered, HELD_OUT_PAIRS)
    return sorted(ordered, key=lambda pair: pair.id)


def _figures(scores: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    drafted, revised = fmean(s[1] for s in scores), fmean(s[2] for s in scores)
    return {
        "rouge_l_drafted": round(drafted, 4),
        "rouge_l_revised": round(revised, 4),
        "rouge_l_gain": round(revised - drafted, 4),
    }


def _per_strategy(scores: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    groups: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for score in scores:
        groups[score[0]].append(score)
    return {name: {**_figures(group), "pairs": len(group)} for name, group in sorted(groups.items())}
