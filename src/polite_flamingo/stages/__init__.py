"""The pipeline's stages, one module each: read, call, write. `run_stage` runs one and records it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from polite_flamingo.environment import stay_offline
from polite_flamingo.params import Params
from polite_flamingo.pipeline import Stage


def run_stage(stage: Stage, params: Params) -> dict[str, Any]:
    """Run one stage in this process, recorded by the profile's tracker; returns its report."""
    from polite_flamingo.tracking import start_tracker

    models = [*params.backbones.model_dump().values(), params.distortion_backend, params.rewriter_backend]
    stay_offline(params.runtime.threads, models)
    function = importlib.import_module(f"polite_flamingo.stages.{stage.module}").run
    settings = params.model_dump(mode="json", exclude={"overridden", "sources"})
    tracking = params.runtime.tracking if os.environ.get("RANK", "0") == "0" else "none"
    with start_tracker(tracking, stage=stage.name, profile=params.profile, settings=settings) as tracker:
        report: dict[str, Any] = function(params, tracker, *stage.arguments)
        tracker.metrics(report)
        for path in _attachments(stage, params.reports):
            tracker.artifact(path)
    return report


def _attachments(stage: Stage, reports: Path) -> list[Path]:
    """Files of a stage that its tracked run shows."""
    figures = "figures" if stage.name == "evaluate" else f"{stage.name}*"  # tune_raw has two loss curves
    report = reports / "checks" / f"{stage.name}.json" if stage.module == "check" else reports / f"{stage.name}.json"
    pages = [reports / "filtering.html", reports / "filter_waterfall.png"] if stage.name == "filter" else []
    return [path for path in [report, *pages, *sorted(reports.glob(f"{figures}/*.png"))] if path.is_file()]
