"""A schedule creates a run and a worker runs it to its end: server, work pool, deployment and worker of a team."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.pretence import PROJECT, Copy

from polite_flamingo.launch.processes import start, stop

PREFECT = (sys.executable, "-m", "prefect")
PATIENCE = 180  # tries, one a second, on a machine that does other things as well
FLOW = """\
import pathlib

import _dvc

_dvc.ROOT = pathlib.Path({root!r})
tick = _dvc.stages_flow("tick", ("download",), "The first stage alone.")
"""


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> Iterator[None]:
    with open(log, "wb") as file:
        process = start(command, cwd=folder, env=environment, log=file)
        try:
            yield
        finally:
            stop(process)


def ask(url: str, query: dict[str, Any] | None = None) -> Any:
    """What Prefect's API says; None while it does not answer."""
    data = None if query is None else json.dumps(query).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


@pytest.mark.slow
@pytest.mark.pipeline
def test_a_schedule_creates_a_run_that_a_worker_runs(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    copy = Copy(tmp_path / "project", git=True)
    flows = tmp_path / "flows"
    shutil.copytree(PROJECT / "flows", flows, ignore=shutil.ignore_patterns("__pycache__"))
    (flows / "tick.py").write_text(FLOW.format(root=str(copy.root)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "POLITE_FLAMINGO_PIPELINE"},
        "PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(flows)]),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DO_NOT_TRACK": "true",
    }
    server = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    worker = [*PREFECT, "worker", "start", "--pool", "local", "--type", "process"]
    with running(server, flows, environment, tmp_path / "server.log"):
        for _ in range(PATIENCE):
            if ask(f"{api}/health"):
                break
            time.sleep(1)
        pool = "work-pool create local --type process"
        # runs come faster than they end: one waits for the other
        deployment = "--no-prompt deploy tick.py:tick --name often --pool local --interval 5"
        for words in (pool, deployment):
            done = subprocess.run(
                [*PREFECT, *words.split()], cwd=flows, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        with running(worker, flows, environment, tmp_path / "worker.log"):
            states: list[str] = []
            for _ in range(PATIENCE):
                runs = ask(f"{api}/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"}) or []
                states = [run["state_type"] for run in runs if run["auto_scheduled"]]
                if {"COMPLETED", "FAILED", "CRASHED"} & set(states):
                    break
                time.sleep(1)
    logs = "\n".join((tmp_path / name).read_text(errors="replace")[-3000:] for name in ("server.log", "worker.log"))
    assert "COMPLETED" in states, f"{states}\n{logs}"
    assert (copy.root / "ran.txt").read_text().split()[:2] == ["download@tiny", "track-outputs@"]
