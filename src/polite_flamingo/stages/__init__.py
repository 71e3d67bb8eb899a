"""The pipeline's stages, one module each: read, call, write. `run_stage` runs one and records it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.environment import BY_DVC, pin_instructions, stay_offline
from polite_flamingo.errors import DataError
from polite_flamingo.io.files import set_aside
from polite_flamingo.launch.processes import end_with_dvc
from polite_flamingo.params.schema import Params
from polite_flamingo.pipeline import Stage
from polite_flamingo.tracking.outputs import damaged, output_hashes


def run_stage(stage: Stage, params: Params) -> dict[str, Any]:
    """Run one stage in this process, recorded by the profile's tracker; returns its report.

    Raises:
        DataError: DVC runs it, and a file that a stage before wrote was damaged meanwhile. It is set aside.
    """
    from polite_flamingo.recording import inputs_of, recorded

    if os.environ.get(BY_DVC):
        end_with_dvc()
    models = [*params.backbones.model_dump().values(), params.distortion_backend, params.rewriter_backend]
    models += [adapters.start_from or "" for adapters in (params.rewriter.lora, params.tune.common.lora)]
    stay_offline(params.runtime.threads, models)
    pin_instructions(params.runtime.instructions)
    _check_inputs(stage.name, inputs_of(stage.name, params.profile), params.profile)
    function = importlib.import_module(f"polite_flamingo.stages.{stage.module}").run
    with recorded(stage, params) as tracker:
        report: dict[str, Any] = function(params, tracker, *stage.arguments)
        tracker.metrics(report)
    return report


def _check_inputs(stage: str, inputs: Sequence[str], profile: str) -> None:
    """Compare what the stages before wrote with the md5 sums DVC took of it."""
    if not os.environ.get(BY_DVC) or os.environ.get("RANK", "0") != "0":
        return
    found = list(damaged(inputs, output_hashes(profile)))
    for path in found:
        set_aside(path, "its bytes are not those that DVC recorded", Path(".work", "damaged"))
    if found:
        raise DataError(
            "files of earlier stages were damaged on the disk and are set aside", value=[str(path) for path in found],
            where=stage, next_step="check the disk, then start again: DVC brings them back, or makes them anew",
        )  # fmt: skip
