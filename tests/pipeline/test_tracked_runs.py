"""Pipelines that DVC runs, in MLflow: one run each to compare, closed when killed, apart in a copied project."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pipeline.pretence import PROJECT, Copy

from polite_flamingo.tracking.endings import REASON
from polite_flamingo.tracking.store import experiment_id, load_json, open_client

# Stage `filter` as it is recorded, pretending to work; while there is a file `wait`, it waits
FILTER = """\
import pathlib, sys, time
from polite_flamingo.io.text import write_json
from polite_flamingo.params.reading import load_params
from polite_flamingo.pipeline import BY_NAME
from polite_flamingo.recording import recorded

params = load_params()
with recorded(BY_NAME["filter"], params) as tracker:
    exec(pathlib.Path("polite_flamingo/__main__.py").read_text())
    while pathlib.Path("wait").exists():
        pathlib.Path("waits").touch()
        time.sleep(0.05)
    kept = 1000 - round(1000 * params.filter.sts.min_cosine)
    write_json(params.reports / "filter.json", {"kept": kept, "kept_share": kept / 1000})
    write_json(params.reports / "evaluate.json", {"models": {"stage3": {"reward": {"value": 1.0}}}})  # of another time
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """The pipeline's two ends around `filter`, without what comes before."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT / "src"))
    (tmp_path / "original").mkdir()
    copy = Copy(tmp_path / "original")
    (copy.root / ".dvc" / "config.local").unlink()
    (copy.root / "filter.py").write_text(FILTER)
    stages = yaml.safe_load((copy.root / "dvc.yaml").read_text())["stages"]
    kept = {"filter": stages["filter"], "evaluate": stages["evaluate"]}
    kept["filter"] |= {"cmd": "python -P filter.py filter --profile ${profile}", "deps": ["filter.py"]}
    (copy.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    (copy.root / ".gitignore").open("a").write("/ran.txt\n/wait\n/waits\n")
    copy.git("init", "--quiet")
    copy.git("add", ".")
    copy.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    monkeypatch.chdir(copy.root)
    return copy


def _pipelines() -> list[Any]:
    """The pipelines' runs, the oldest first."""
    client = open_client()
    found = client.search_runs(
        [experiment_id(client)], "tags.kind = 'pipeline'", order_by=["attributes.start_time ASC"]
    )
    return list(found)


def _kill(project: Copy) -> None:
    """Kill an experiment half-way, with all it started."""
    (project.root / "wait").touch()
    command = [sys.executable, "-m", "dvc", "exp", "run", "-S", "filter.sts.min_cosine=0.6", "filter"]
    process = subprocess.Popen(command, cwd=project.root, start_new_session=True, stdout=subprocess.DEVNULL)
    while not (project.root / "waits").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (project.root / "wait").unlink()


def _files(root: Path) -> dict[str, int]:
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
@pytest.mark.pipeline
def test_experiments_are_compared_by_one_run_each_and_killed_ones_are_closed(
    project: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threshold in ("0.45", "0.5"):
        project.dvc("exp", "run", "-S", f"filter.sts.min_cosine={threshold}", "filter")
    first, second = _pipelines()
    assert (first.info.status, second.info.status) == ("FINISHED", "FINISHED")
    assert first.data.params == {"filter.sts.min_cosine": "0.45"}
    assert second.data.params == {"filter.sts.min_cosine": "0.5"}
    # what is not up to date with `filter`, an evaluation of another time, is no figure of these runs
    assert first.data.metrics == {"pf1m.kept": 550, "pf1m.kept_share": 0.55}
    assert second.data.metrics == {"pf1m.kept": 500, "pf1m.kept_share": 0.5}
    parameters = load_json(open_client(), second.info.run_id, "parameters.json")
    assert parameters["filter"]["sts"]["min_cosine"] == 0.5
    note = second.data.tags["mlflow.note.content"]
    assert first.info.run_id in note
    assert "| filter.sts.min_cosine | 0.45 | 0.5 (+0.05) |" in note
    assert "| pf1m.kept | 550 | 500 (-50) |" in note
    assert second.data.tags["mlflow.source.name"] == "dvc exp run -S filter.sts.min_cosine=0.5 filter"

    _kill(project)
    assert _pipelines()[-1].info.status == "RUNNING"
    before = _files(project.root)
    project.root = Path(shutil.copytree(project.root, tmp_path / "copy", symlinks=True))
    monkeypatch.chdir(project.root)
    project.dvc("repro", "filter")
    *_, killed, last = _pipelines()
    assert (killed.info.status, last.info.status) == ("KILLED", "FINISHED")
    assert "stage filter was killed" in killed.data.tags[REASON]
    assert second.info.run_id in last.data.tags["mlflow.note.content"]  # the last that finished
    assert _files(tmp_path / "original") == before
