"""A job on a real Ray cluster of two nodes on loopback; run by test_cluster.py in a process of its own.

Token authentication is on. In mid-run one worker is killed with SIGKILL, later the second node is stopped.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

RECORDS, CALL, SHARD = 1600, 10, 200


def join_without_token(address: str, out: Path) -> str:
    """What somebody without the token is told."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    environment |= {"HOME": str(out), "RAY_AUTH_MODE": "disabled"}
    code = f"import ray; ray.init(address={address!r}); print(ray.cluster_resources())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 0:
        return "joined"
    return "refused for the token" if "InvalidAuthToken" in done.stderr else done.stderr


def main(out: Path) -> None:
    token = out / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback alone
    }
    import ray
    from ray.cluster_utils import Cluster
    from tests.unit.jobs.stub import Stub, questions
    from tests.unit.jobs.test_engine import job

    from polite_flamingo.jobs.engine import run
    from polite_flamingo.jobs.ray_pool import RayExecutor

    node = {"num_cpus": 1, "object_store_memory": 80 * 1024 * 1024}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    second = cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False)
    nodes = len([n for n in ray.nodes() if n["Alive"]])
    stranger = join_without_token(cluster.address, out)
    factory = partial(Stub, log=out / "log", delay=0.05)
    executor = RayExecutor(factory, workers=2, call_size=CALL)
    done = threading.Event()
    killed: list[int] = []

    def lines() -> list[str]:
        return (out / "log").read_text().splitlines() if (out / "log").exists() else []

    def disturb() -> None:
        while len(lines()) < RECORDS // 4 and not done.is_set():
            time.sleep(0.02)
        killed.append(int(lines()[-1].split()[0]))
        os.kill(killed[0], signal.SIGKILL)
        while (len({line.split()[0] for line in lines()}) < 3 or len(lines()) < RECORDS // 2) and not done.is_set():
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)

    thread = threading.Thread(target=disturb)
    thread.start()
    started = time.monotonic()
    try:
        progress = run(job(out, SHARD, label="ray"), questions(RECORDS), executor)
    finally:
        done.set()
    seconds = time.monotonic() - started
    thread.join()
    deadline = time.monotonic() + 60
    while len([n for n in ray.nodes() if n["Alive"]]) > 1 and time.monotonic() < deadline:
        time.sleep(0.5)
    report = {
        "nodes_at_start": nodes,
        "nodes_at_end": len([n for n in ray.nodes() if n["Alive"]]),
        "address": cluster.address,
        "stranger": stranger,
        "computed": progress.computed,
        "workers_lost": executor.workers_lost,
        "calls_lost": executor.calls_lost,
        "pids": len({line.split()[0] for line in lines()}),
        "seconds": round(seconds, 1),
    }
    (out / "report.json").write_text(json.dumps(report))
    executor.close()
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
