"""Stages ``train_rewriter`` (section 3.2) and ``train_second_rewriter`` (section 5.4): learn to undo the distortions.

Reads  : data/P/pairs, models/P/backbones/flamingo; the second generation also models/P/stage3.
Writes : models/P/rewriter, reports/P/train_rewriter.json, reports/P/train_rewriter/loss.png; the second generation
         models/P/second_rewriter and the same reports under its own name.

The first generation starts from OpenFlamingo with fresh LoRA. The second starts from the tuned assistant: its connector
is kept, its LoRA is trained on with the same settings on the same pairs.

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

from polite_flamingo.io import write_json
from polite_flamingo.params import Params
from polite_flamingo.records import RewritePair
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)

HELD_OUT_PAIRS = 150  # most held-out pairs that are revised for the figures
ASSISTANT = "stage3"  # what the second generation starts from


def run(params: Params, tracker: Tracker, generation: str = "first") -> dict[str, Any]:
    """Train the rewriter, save it, measure it on held-out pairs.

    Args:
        params: Resolved parameters.
        tracker: Gets losses and figures.
        generation: first, or second: from the tuned assistant.

    Raises:
        DataError: there is no pair to train on or to measure with.
    """
    import torch

    from polite_flamingo.model.checkpoint import save_trainables
    from polite_flamingo.model.flamingo import load_flamingo
    from polite_flamingo.model.freezing import set_trainable
    from polite_flamingo.model.lora import inject_lora, merge_lora
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.rewrite.revision import revise
    from polite_flamingo.scorers.rouge import rouge_l
    from polite_flamingo.train.group import join_processes, leave_processes
    from polite_flamingo.train.loop import train
    from polite_flamingo.train.pairs import PairData, pair_example, pairs_of
    from polite_flamingo.train.settings import Distribution, TrainingRun, TrainSettings
    from polite_flamingo.train.validation import mean_loss

    settings, runtime = params.rewriter, params.runtime
    second = generation == "second"
    name, out = ("train_second_rewriter", "second_rewriter") if second else ("train_rewriter", "rewriter")
    torch.set_num_threads(runtime.threads)
    join_processes(runtime.device)
    held_out = draw_held_out(list(pairs_of(params.data / "pairs", "held_out")), params.seed)
    bundle = load_flamingo(
        params.models / "backbones" / "flamingo",
        device=runtime.device,
        trainables=params.models / ASSISTANT if second else None,
        merge=False,
        quantize=settings.lora.quantize,
        attention=runtime.attention,
    )
    if bundle.lora is None:
        inject_lora(bundle, settings.lora, seed=params.seed, start_from=settings.lora.start_from)
    trainable = set_trainable(bundle, ["lora"])
    bundle.checkpoint_activations(runtime.gradient_checkpointing)

    length = settings.context_length
    data = PairData.from_shards(
        bundle.tokenizer,
        params.data / "pairs",
        split="train",
        context_length=length,
        seed=params.seed,
        validation_share=settings.validation.share,
    )
    examples = data.epoch(0)
    unseen = [e for pair in held_out if (e := pair_example(bundle.tokenizer, pair, length)) is not None]
    tracker.params({"pairs": len(examples), "trainable": sum(trainable.values()), **settings.model_dump()})
    result = train(
        bundle,
        data,
        TrainSettings.of(settings, runtime, seed=params.seed, bf16=runtime.dtype == "bfloat16"),
        TrainingRun(
            f"{name}-{params.profile}",
            params.image_root,
            params.reports / name,
            tracker,
            Distribution(runtime.distributed, runtime.deepspeed),
        ),
        validation=data.validation,
    )
    if not leave_processes():
        return {"steps": result.steps}
    folder: Path = params.models / out
    shutil.rmtree(folder, ignore_errors=True)
    save_trainables(bundle, folder, configuration=params.provenance("rewriter"))

    held_out_loss = mean_loss(bundle, unseen, image_root=params.image_root) if unseen else None
    merge_lora(bundle)
    bundle.cast(runtime.dtype)
    revised = revise(
        bundle,
        held_out,
        GenerationSettings.of(params.generation, seed=params.seed),
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
        "skipped_pairs": examples.skipped,
        "steps": result.steps,
        "tokens": result.tokens,
        "first_loss": round(result.losses[0], 4),
        "final_loss": round(result.final_loss, 4),
        **result.validated(),
        "trainable": trainable,
        "cut_off": sum(answer.finish_reason == "length" for answer in revised),
    }
    write_json(params.reports / f"{name}.json", report)
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
