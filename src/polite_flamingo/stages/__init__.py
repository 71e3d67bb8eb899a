"""The pipeline's stages, one module each: read, call, write. `run_stage` runs one and records it."""

from __future__ import annotations

import importlib
from typing import Any

from polite_flamingo.environment import pin_instructions, stay_offline
from polite_flamingo.params import Params
from polite_flamingo.pipeline import Stage


def run_stage(stage: Stage, params: Params) -> dict[str, Any]:
    """Run one stage in this process, recorded by the profile's tracker; returns its report."""
    from polite_flamingo.recording import recorded

    models = [*params.backbones.model_dump().values(), params.distortion_backend, params.rewriter_backend]
    models += [adapters.start_from or "" for adapters in (params.rewriter.lora, params.tune.common.lora)]
    stay_offline(params.runtime.threads, models)
    pin_instructions(params.runtime.instructions)
    function = importlib.import_module(f"polite_flamingo.stages.{stage.module}").run
    with recorded(stage, params) as tracker:
        report: dict[str, Any] = function(params, tracker, *stage.arguments)
        tracker.metrics(report)
    return report
