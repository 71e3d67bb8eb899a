"""Rewriting on a real Ray cluster of two nodes; needs the extra `ray`.

Run it with ``pip install -e '.[ray]'`` and ``python -m pytest tests/pipeline/test_cluster.py``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.pipeline.cluster_job import CALL, RECORDS, SHARD
from tests.unit.jobs.stub import Stub, questions
from tests.unit.jobs.test_engine import job, shards

from polite_flamingo.jobs.engine import run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.jobs.ray_pool import CALLS_PER_WORKER

ROOT = Path(__file__).parents[2]
HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install -e '.[ray]'")


def in_own_process(module: str, out: Path, timeout: float) -> None:
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", module, str(out)]
    with open(out / "stderr", "w+") as stderr:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=stderr, start_new_session=True)
        try:
            process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with everything the cluster started
            process.wait()
    assert process.returncode == 0, (out / "stderr").read_text()[-3000:]


@needs_ray
@pytest.mark.pipeline
@pytest.mark.slow
def test_a_killed_worker_and_a_stopped_node_cost_their_calls_in_flight_only(tmp_path) -> None:
    in_own_process("tests.pipeline.cluster_job", tmp_path, timeout=240)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["nodes_at_start"] == 2
    assert report["nodes_at_end"] == 1
    assert report["address"].startswith("127.0.0.1:")
    assert report["stranger"] == "refused for the token"
    assert report["computed"] == RECORDS
    assert report["workers_lost"] >= 2
    assert [o.id for o in job(tmp_path).outcomes()] == [f"t/{i}" for i in range(RECORDS)]
    asked = Counter(line.split()[1] for line in (tmp_path / "log").read_text().splitlines())
    repeated = sum(count - 1 for count in asked.values())
    assert len(asked) == RECORDS
    assert repeated <= report["calls_lost"] * CALL
    assert report["calls_lost"] <= report["workers_lost"] * CALLS_PER_WORKER
    local = tmp_path / "local"
    run(job(local, SHARD), questions(RECORDS), LocalExecutor(Stub(), 37))
    assert shards(tmp_path) == shards(local)
