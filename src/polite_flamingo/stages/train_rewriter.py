"""Stages ``train_rewriter`` (section 3.3) and ``train_second_rewriter`` (section 5.4): learn to undo the distortions.

Reads  : data/P/pairs, models/P/backbones/flamingo; the second generation also models/P/stage3.
Writes : models/P/rewriter, data/P/revised/rewriter (held-out pairs with its answers), reports/P/train_rewriter.json,
         reports/P/train_rewriter/loss.{png,csv}; the second generation the same under its own name.

The first generation starts from OpenFlamingo with fresh LoRA. The second starts from the tuned assistant: its connector
is kept, its LoRA is trained on with the same settings on the same pairs.

Measured on held-out pairs: ``rouge_l_gain`` is Rouge-L of the revised response with the original minus Rouge-L of the
drafted response with the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polite_flamingo.io.shards import write_shards
from polite_flamingo.io.text import write_json
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.params.schema import Params
from polite_flamingo.records import RewritePair
from polite_flamingo.tracking.base import Tracker
from polite_flamingo.train.held_out import draw_held_out, gains, outcomes

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle

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
    from polite_flamingo.train.loop import fine_tune, keep, open_model
    from polite_flamingo.train.pairs import PairData, pairs_of
    from polite_flamingo.train.settings import TrainingRun, TrainMachineSettings, TrainSettings

    settings, runtime = params.rewriter, params.runtime
    second = generation == "second"
    name, out = ("train_second_rewriter", "second_rewriter") if second else ("train_rewriter", "rewriter")
    held_out = draw_held_out(list(pairs_of(params.data / "pairs", "held_out")), params.seed)
    machine = TrainMachineSettings.of(runtime)
    bundle = open_model(
        params.models / "backbones" / "flamingo",
        settings.lora,
        machine,
        trainables=params.models / ASSISTANT if second else None,
    )
    data = PairData.from_shards(
        bundle.tokenizer,
        params.data / "pairs",
        split="train",
        context_length=settings.context_length,
        seed=params.seed,
        validation_share=settings.validation.share,
    )
    tracker.params({"pairs": len(data.epoch(0)), **settings.model_dump()})
    trained = fine_tune(
        bundle,
        data,
        TrainSettings.of(settings, machine, seed=params.seed, bf16=machine.bf16),
        TrainingRun(
            f"{name}-{params.profile}",
            params.image_root,
            params.reports / name,
            tracker,
            machine.distribution,
        ),
        groups=["lora"],
        lora=settings.lora,
    )
    if not keep(bundle, params.models / out, params.provenance("rewriter")):
        return {"steps": trained["steps"]}
    report = {
        **trained,
        **_measured(params, bundle, held_out, out),
        "train_pairs": len(data.epoch(0)),
        "skipped_pairs": data.epoch(0).skipped,
    }
    write_json(params.reports / f"{name}.json", report)
    tracker.metrics({k: v for k, v in report.items() if isinstance(v, float)})
    return report


def _measured(params: Params, bundle: FlamingoBundle, held_out: Sequence[RewritePair], name: str) -> dict[str, Any]:
    """Loss on held-out pairs, and what the rewriter gains on them; its answers are kept."""
    from polite_flamingo.model.lora import merge_lora
    from polite_flamingo.rewrite.revision import revise
    from polite_flamingo.train.pairs import pair_example
    from polite_flamingo.train.validation import mean_loss

    length = params.rewriter.context_length
    unseen = [e for pair in held_out if (e := pair_example(bundle.tokenizer, pair, length)) is not None]
    loss = mean_loss(bundle, unseen, image_root=params.image_root) if unseen else None
    merge_lora(bundle)
    bundle.cast(params.runtime.dtype)
    revised = revise(
        bundle,
        held_out,
        GenerationSettings.of(params.generation, seed=params.seed),
        image_root=params.image_root,
        batch_size=params.runtime.generation_batch_size,
        progress="revise held-out",
    )
    write_shards(params.data / "revised" / name, outcomes(held_out, revised))
    return {**gains(held_out, revised), "held_out_loss": None if loss is None else round(loss, 4)}
