"""Runs of a profile that params.yaml does not name, under SIGKILL: git sees nothing of them, the next run ends well."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.pipeline.pretence import PROJECT, Copy

RUN = """
import sys
from polite_flamingo.launch.pipeline_run import run_pipeline
from polite_flamingo.params.reading import load_params
sys.exit(run_pipeline(load_params(profile="single_gpu"), until="check_distorted"))
"""
STAGES = ["download@single_gpu", "check_raw@single_gpu", "distort@single_gpu", "check_distorted@single_gpu"]


def _start(copy: Copy) -> subprocess.Popen[str]:
    # -P: the stand-in of the package in the copy is for the stages, not for the run
    return subprocess.Popen(
        [sys.executable, "-P", "-c", RUN],
        cwd=copy.root,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src"), "DVC_NO_ANALYTICS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ran(copy: Copy) -> list[str]:
    log = copy.root / ".work/projects/single_gpu/ran.txt"
    return log.read_text().split() if log.exists() else []


def _wait_for(process: subprocess.Popen[str], count: int, copy: Copy) -> None:
    while len(_ran(copy)) < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.pipeline
def test_a_run_killed_at_any_time_leaves_git_clean_and_nothing_running(tmp_path: Path) -> None:
    copy = Copy(tmp_path, git=True)
    for kill, count in ((None, 0), ("run", 1), ("tree", 2), ("run", 3)):
        process = _start(copy)
        if kill is None:
            while not (copy.root / ".work/projects/single_gpu/params.yaml").exists():
                time.sleep(0.001)
        else:
            _wait_for(process, count, copy)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()  # what it started is to end with it
        for child in family if kill == "tree" else ():
            with suppress(psutil.NoSuchProcess):  # it may end with its parent before its turn
                child.kill()
        process.communicate()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
        assert copy.git("status", "--porcelain") == ""
    process = _start(copy)
    log, _ = process.communicate()
    assert process.returncode == 0, log
    assert set(STAGES) <= set(_ran(copy))
    assert copy.git("status", "--porcelain") == ""
    assert (copy.root / "reports/single_gpu/checks/check_distorted.json").exists()
