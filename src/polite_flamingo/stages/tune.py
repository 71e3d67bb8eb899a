"""Stages ``tune_stage1``, ``tune_stage2``, ``tune_stage3`` and ``tune_raw`` (section 4.3, Table 4).

Reads  : data/P/samples/instruction, models/P/backbones/flamingo, the stage before; data/P/pf1m/kept, or, where a source
         has the role `pf1m` (published files), data/P/samples/pf1m.
Writes : models/P/{stage1,stage2,stage3,raw} (all that was learned so far), reports/P/tune_<which>.json, loss.{png,csv}.

Each stage starts from the trainables of the one before. ``raw``, the comparison, follows stages 1 and 2 on the same
records with their raw answers.

Ablations (Figure 9) are settings of `tune`: ``data: raw`` does the same to the stages themselves, ``skip_stage1``
leaves stage 1 out (its model is the base with adapters that change nothing), ``resolution`` is the images' size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from polite_flamingo.errors import ConfigError, did_you_mean
from polite_flamingo.io.text import write_json
from polite_flamingo.params.schema import Params
from polite_flamingo.tracking.base import Tracker

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
    from polite_flamingo.train.loop import keep, open_model
    from polite_flamingo.train.settings import TrainingRun, TrainMachineSettings
    from polite_flamingo.train.tuning import Tuning

    if which not in get_args(Which):
        raise ConfigError("unknown tuning stage", value=which, next_step=did_you_mean(which, get_args(Which)))
    before, common, runtime = BEFORE[which], params.tune.common, params.runtime
    machine = TrainMachineSettings.of(runtime)
    bundle = open_model(
        params.models / "backbones" / "flamingo",
        common.lora,
        machine,
        trainables=None if before is None else params.models / before,
        resolution=common.resolution,
    )

    def run_of(name: str) -> TrainingRun:
        distribution = machine.distribution
        return TrainingRun(f"{name}-{params.profile}", params.image_root, params.reports / name, tracker, distribution)

    instruction, published = (params.data / "samples" / role for role in ("instruction", "pf1m"))
    kept = params.data / "pf1m" / "kept" if params.rewrites else published
    tuning = Tuning(bundle, params.tune, params.tune_seed, machine, instruction, kept, run_of)
    report = (
        tuning.comparison(Path(".work") / f"tune_raw-{params.profile}", READ["raw"])
        if which == "raw"
        else tuning.stage(which, f"tune_{which}", raw=common.data == "raw")
    )
    if keep(bundle, params.models / which, params.provenance("tune", READ[which])):
        write_json(params.reports / f"tune_{which}.json", report)
    return report
