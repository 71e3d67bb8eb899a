"""Stages ``tune_stage1``, ``tune_stage2``, ``tune_stage3`` and ``tune_raw`` (section 4.3, Table 4, Figure 5).

Reads  : data/P/samples/instruction, data/P/pf1m/kept, models/P/backbones/flamingo, the stage before.
Writes : models/P/{stage1,stage2,stage3,raw} (all that was learned so far), reports/P/tune_<which>.json, loss.png.

Each stage starts from the trainables of the one before. ``raw``, the comparison, follows stages 1 and 2 on the same
records with their raw answers.

Ablations (Figure 9) are settings of `tune`: ``data: raw`` does the same to the stages themselves, ``skip_stage1``
leaves stage 1 out (its model is the base with adapters that change nothing), ``resolution`` is the images' size.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, Literal, get_args

from polite_flamingo.errors import ConfigError, did_you_mean
from polite_flamingo.io import fingerprint, read_json, write_json
from polite_flamingo.params import Params
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)

Which = Literal["stage1", "stage2", "stage3", "raw"]
BEFORE: dict[str, str | None] = {"stage1": None, "stage2": "stage1", "stage3": "stage2", "raw": None}
READ = {  # keys of `tune` that each training reads, as in dvc.yaml
    "stage1": {"common", "skip_stage1", "stage1"},
    "stage2": {"common", "stage2"},
    "stage3": {"common", "stage3"},
    "raw": {"common", "skip_stage1", "stage1", "stage2"},
}


def run(params: Params, tracker: Tracker, which: str) -> dict[str, Any]:
    """Run one stage of the U, or the comparison on raw annotations.

    Args:
        params: Resolved parameters.
        tracker: Gets losses and figures.
        which: stage1, stage2, stage3 or raw.

    Raises:
        ConfigError: `which` is unknown.
        DataError: a part of the mixture is empty.
        ModelError: the stage before is missing or belongs to another base.
    """
    import torch

    from polite_flamingo.model.checkpoint import save_trainables
    from polite_flamingo.model.flamingo import load_flamingo
    from polite_flamingo.train.group import join_processes, leave_processes

    if which not in get_args(Which):
        raise ConfigError("unknown tuning stage", value=which, next_step=did_you_mean(which, get_args(Which)))
    torch.set_num_threads(params.runtime.threads)
    join_processes(params.runtime.device)
    before = BEFORE[which]
    bundle = load_flamingo(
        params.models / "backbones" / "flamingo",
        device=params.runtime.device,
        trainables=None if before is None else params.models / before,
        merge=False,
        resolution=params.tune.common.resolution,
        quantize=params.tune.common.lora.quantize,
        attention=params.runtime.attention,
    )
    bundle.checkpoint_activations(params.runtime.gradient_checkpointing)
    if which == "raw":
        report: dict[str, Any] = _tune_raw(params, tracker, bundle)
    else:
        report = _tune(params, tracker, bundle, which, raw=params.tune.common.data == "raw", name=f"tune_{which}")
    if not leave_processes():
        return report
    folder = params.models / which
    shutil.rmtree(folder, ignore_errors=True)
    save_trainables(bundle, folder, configuration=params.provenance("tune", READ[which]))
    write_json(params.reports / f"tune_{which}.json", report)
    return report


def _tune_raw(params: Params, tracker: Tracker, bundle: Any) -> dict[str, Any]:
    """Stages 1 and 2 on raw answers; the first part's result is kept until the second is done."""
    from polite_flamingo.model.checkpoint import CONFIG, load_trainables, save_trainables
    from polite_flamingo.train.group import rank

    key = fingerprint(
        bundle.base_hash,
        params.tune.model_dump(include=READ["raw"]),
        params.tune_seed,
        params.data / "samples" / "instruction",
        params.data / "pf1m" / "kept",
    )
    halfway = Path(".work") / f"tune_raw-{params.profile}" / key
    if (halfway / "report.json").is_file() and (halfway / CONFIG).is_file():
        load_trainables(bundle, halfway)
        first = read_json(halfway / "report.json")
    else:
        first = _tune(params, tracker, bundle, "stage1", raw=True, name="tune_raw_stage1")
        if rank() == 0:
            save_trainables(bundle, halfway)
            write_json(halfway / "report.json", first)
    second = _tune(params, tracker, bundle, "stage2", raw=True, name="tune_raw_stage2")
    if rank() == 0:
        shutil.rmtree(halfway.parent, ignore_errors=True)
    return {"stage1": first, "stage2": second, "final_loss": second["final_loss"]}


def _tune(
    params: Params,
    tracker: Tracker,
    bundle: Any,
    stage: str,
    *,
    raw: bool,
    name: str,
) -> dict[str, Any]:
    """Train one stage in place; `name` is that of its figures and unfinished work."""
    from polite_flamingo.model.freezing import set_trainable
    from polite_flamingo.model.lora import inject_lora
    from polite_flamingo.train.loop import train
    from polite_flamingo.train.mixture import StageData, raw_mixture
    from polite_flamingo.train.settings import Distribution, TrainingRun, TrainSettings

    tune, runtime, seed = params.tune, params.runtime, params.tune_seed
    common, settings = tune.common, getattr(tune, stage)
    mixture = raw_mixture(settings.mixture) if raw else dict(settings.mixture)
    skipped = stage == "stage1" and tune.skip_stage1
    if bundle.lora is None and ("lora" in settings.trainable or skipped):
        inject_lora(bundle, common.lora, seed=seed, start_from=common.lora.start_from)
    if skipped:
        (params.reports / name).mkdir(parents=True, exist_ok=True)
        return {"skipped": True, "steps": 0}
    trainable = set_trainable(bundle, settings.trainable)
    data = StageData.from_shards(
        bundle.tokenizer,
        params.data / "samples" / "instruction",
        params.data / "pf1m" / "kept",
        mixture,
        seed=seed,
        context_length=settings.context_length,
        max_turns=common.multiturn.max_turns,
        max_images=common.multiturn.max_images,
        mode=common.multiturn.mode,
        mixing=common.mixing,
        validation_share=common.validation.share,
    )
    first = data.epoch(0)
    figures = {"examples": len(first), "truncated": first.truncated, "skipped": first.skipped}
    tracker.params({f"{name}/trainable": sum(trainable.values()), f"{name}/learning_rate": settings.learning_rate})
    result = train(
        bundle,
        data,
        TrainSettings.of(common, settings, runtime, seed=seed, bf16=runtime.dtype == "bfloat16"),
        TrainingRun(
            f"{name}-{params.profile}",
            params.image_root,
            params.reports / name,
            tracker,
            Distribution(runtime.distributed, runtime.deepspeed),
        ),
        validation=data.validation,
    )
    report: dict[str, Any] = {
        **figures,
        "samples": data.sizes,
        "mixture": mixture,
        "trainable": trainable,
        "steps": result.steps,
        "tokens": result.tokens,
        "first_loss": round(result.losses[0], 4),
        "final_loss": round(result.final_loss, 4),
        **result.validated(),
    }
    tracker.metrics({f"{name}/final_loss": report["final_loss"]})
    return report
