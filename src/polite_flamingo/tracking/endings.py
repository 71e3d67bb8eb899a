"""How runs end, also those whose process was killed before it could say so.

A stage's run names the process that records it, a pipeline's run the one that started it, and both are marked alive
every few minutes. Whoever records next closes what is still RUNNING although its process is gone. What cannot be seen
from here, a run of another machine on a team's server, is closed only when it was not alive for a day.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from polite_flamingo.tracking.owner import Owner

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"
OWNER = "owner"
ALIVE = "alive"  # tag: milliseconds since the epoch at the last sign of life
REASON = "ended.reason"
LEASE_SECONDS = 24 * 3600.0
MOST_RUNS = 1000


def close_dead(client: MlflowClient, experiment: str, *, one_machine: bool) -> int:
    """End the runs whose process is gone, and the pipelines they belonged to.

    Args:
        client: MLflow's client.
        experiment: Id of the experiment.
        one_machine: The store lies on this machine and is no server's.

    Returns:
        Number of runs ended.
    """
    running = client.search_runs([experiment], "attributes.status = 'RUNNING'", max_results=MOST_RUNS)
    stages = [run for run in running if run.data.tags.get("kind") == "stage"]
    pipelines = {run.info.run_id: run for run in running if run.data.tags.get("kind") == "pipeline"}
    dead = [run for run in stages if _is_dead(run, one_machine)]
    for run in dead:
        _kill(client, run)
    living = {run.data.tags.get(PARENT) for run in stages} - {run.data.tags.get(PARENT) for run in dead}
    orphaned = {run.data.tags[PARENT] for run in dead if PARENT in run.data.tags} - living
    for run_id in orphaned & pipelines.keys():
        settle(client, pipelines.pop(run_id))
    ended = [run for run_id, run in pipelines.items() if run_id not in living and _is_dead(run, one_machine)]
    for run in ended:
        _kill(client, run)
    return len(dead) + len(ended)


def settle(client: MlflowClient, pipeline: Run) -> None:
    """Give a pipeline's run the status of its stages: the last run of each counts."""
    run_id = pipeline.info.run_id
    children = client.search_runs(
        [pipeline.info.experiment_id], f"tags.`{PARENT}` = '{run_id}'", order_by=["attributes.start_time ASC"]
    )
    last = {run.info.run_name: run.info for run in children}
    states = {info.status for info in last.values()}
    if "RUNNING" in states:
        return
    status = next((state for state in ("KILLED", "FAILED") if state in states), "FINISHED")
    ends = [info.end_time for info in last.values() if info.end_time is not None]
    client.set_terminated(run_id, status, end_time=max(ends, default=milliseconds()))
    for info in last.values():
        if info.status == status != "FINISHED":
            client.set_tag(run_id, REASON, f"stage {info.run_name} {'failed' if status == 'FAILED' else 'was killed'}")


def milliseconds() -> int:
    """Now, as MLflow counts."""
    return int(time.time() * 1000)


def _is_dead(run: Run, one_machine: bool) -> bool:
    owner = Owner.parse(run.data.tags.get(OWNER, ""))
    lives = None if owner is None else owner.lives(one_machine=one_machine)
    return milliseconds() - _last_sign(run) > LEASE_SECONDS * 1000 if lives is None else not lives


def _last_sign(run: Run) -> int:
    return int(run.data.tags.get(ALIVE) or run.info.start_time or 0)


def _kill(client: MlflowClient, run: Run) -> None:
    owner = Owner.parse(run.data.tags.get(OWNER, ""))
    process = "its process" if owner is None else f"process {owner.pid} on {owner.host}"
    client.set_tag(run.info.run_id, REASON, f"{process} ended without a word: killed, or the machine stopped")
    client.set_terminated(run.info.run_id, "KILLED", end_time=_last_sign(run))
