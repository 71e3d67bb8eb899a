"""The flows run the stages through Prefect; the deployments point at them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.pipeline.pretence import PROJECT, Copy

from polite_flamingo.pipeline import CURATE, EVALUATE, FULL, TUNE


def test_the_flows_together_are_the_whole_pipeline() -> None:
    assert (*CURATE, *TUNE, *EVALUATE) == FULL


def test_every_deployment_points_at_a_flow() -> None:
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    assert {deployment["name"] for deployment in deployments} == {"nightly", "curate", "tune", "evaluate", "fetch"}
    for deployment in deployments:
        file, _, function = deployment["entrypoint"].partition(":")
        assert re.search(rf"^({function} = stages_flow|def {function})\(", (PROJECT / file).read_text(), re.MULTILINE)


def test_the_whole_pipeline_runs_every_night() -> None:
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    scheduled = {
        deployment["entrypoint"]: deployment["schedules"] for deployment in deployments if deployment.get("schedules")
    }
    assert list(scheduled) == ["flows/full.py:full"]
    assert scheduled["flows/full.py:full"][0]["cron"] == "0 2 * * *"


@pytest.mark.slow
@pytest.mark.pipeline
def test_a_flow_runs_its_stages_side_by_side_and_tries_again_what_did_not_answer(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    copy = Copy(tmp_path / "project", git=True)
    copy.bring_flows()
    copy.edit("configs/profiles/single_gpu.yaml", "runtime:", "runtime:\n  parallel: 2")
    down = {"kinds": ["EndpointDownError", "ModelError"], "message": "endpoint does not answer"}
    copy.play(
        backbones={"beside": "distort", "shows": "CUDA_VISIBLE_DEVICES"},  # each waits for the other to begin
        distort={"beside": "backbones", "shows": "CUDA_VISIBLE_DEVICES", "failures": 1, "error": down},
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(copy.root / "flows")]),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }
    environment.pop("POLITE_FLAMINGO_PIPELINE", None)
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    stages = ("download", "check_raw", "backbones", "distort")
    code = "import _dvc, _stage\n_stage.run_stage.retry_delay_seconds = [0.1]\n"
    code += f"print(_dvc.stages_flow('short', {stages}, 'A few stages.')('single_gpu', return_state=True).message)"
    # -P: the stand-in of the package in the copy is for the stages, not for the flow
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=copy.root, env=environment, capture_output=True, text=True, check=False
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    assert "4 stages ran, 0 were up to date" in done.stdout, log
    ran = (copy.root / ".work/projects/single_gpu/ran.txt").read_text().split()
    assert ran[:2] == ["download@single_gpu", "check_raw@single_gpu"]
    assert sorted(ran[2:]) == ["backbones@single_gpu", "distort@single_gpu", "distort@single_gpu", "track-outputs@"]
    shown = {line for line in log.splitlines() if "CUDA_VISIBLE_DEVICES" in line}
    assert {line.rpartition(" ")[2] for line in shown} == {"0", "1"}
    assert "Running stage 'distort@single_gpu'" in log
    assert copy.git("status", "--porcelain", "--", "dvc.lock", "params.yaml") == ""
