"""The flows run the stages through Prefect; the deployments point at them."""

from __future__ import annotations

import json
import os
import shutil
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
    assert {deployment["name"] for deployment in deployments} == {"nightly", "curate", "tune", "evaluate"}
    for deployment in deployments:
        file, _, function = deployment["entrypoint"].partition(":")
        assert f"{function} = stages_flow(" in (PROJECT / file).read_text()


def test_the_whole_pipeline_runs_every_night() -> None:
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    scheduled = {
        deployment["entrypoint"]: deployment["schedules"] for deployment in deployments if deployment["schedules"]
    }
    assert list(scheduled) == ["flows/full.py:full"]
    assert scheduled["flows/full.py:full"][0]["cron"] == "0 2 * * *"


@pytest.mark.pipeline
def test_a_deployment_offers_the_profiles_there_are() -> None:
    code = "import json; from curate import curate; print(json.dumps(curate.parameters.model_dump()['properties']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(PROJECT / "flows")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    offered = json.loads(done.stdout)["profile"]["anyOf"][0]["enum"]
    assert offered == sorted(path.stem for path in (PROJECT / "configs" / "profiles").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.pipeline
def test_a_flow_runs_its_stages_in_order_with_their_lines_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    copy = Copy(tmp_path / "project", git=True)
    shutil.copytree(PROJECT / "flows", tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(tmp_path / "flows")]),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
    }
    environment.pop("POLITE_FLAMINGO_PIPELINE", None)
    stages = ("download", "check_raw", "distort")
    code = f"import _dvc, pathlib; _dvc.ROOT = pathlib.Path({str(copy.root)!r})\n"
    code += f"_dvc.stages_flow('short', {stages}, 'A few stages.')('smol')"
    # -P: the stand-in of the package in the copy is for the stages, not for the flow
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=copy.root, env=environment, capture_output=True, text=True, check=False
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    ran = (copy.root / ".work/projects/smol/ran.txt").read_text().split()
    assert ran == ["download@smol", "check_raw@smol", "distort@smol", "track-outputs@"]
    assert "Running stage 'distort@smol'" in log
    assert copy.git("status", "--porcelain") == ""
