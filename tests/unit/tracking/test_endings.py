"""Runs whose process is gone are closed, and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.tracking.endings import (
    ALIVE,
    LEASE_SECONDS,
    OWNER,
    PARENT,
    REASON,
    close_dead,
    milliseconds,
    settle,
)
from polite_flamingo.tracking.owner import Owner
from polite_flamingo.tracking.store import open_client

HERE = Owner.of(os.getpid())
ELSEWHERE = replace(HERE, host="other", boot="b")


@pytest.fixture(scope="module")
def client(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('runs'))}")
        yield open_client()  # every test has an experiment of its own


@pytest.fixture
def experiment(client: Any, request: pytest.FixtureRequest) -> str:
    created: str = client.create_experiment(request.node.name, artifact_location="mlflow-artifacts:/x")
    return created


@pytest.fixture
def gone() -> Owner:
    process = subprocess.Popen(["true"])
    owner = Owner.of(process.pid)
    process.wait()
    return owner


def _run(
    client: Any, experiment: str, name: str, owner: Owner | None, parent: str | None = None, alive: int = 0
) -> str:
    tags = {"kind": "pipeline" if parent is None else "stage", ALIVE: str(alive or milliseconds())}
    if owner is not None:
        tags[OWNER] = str(owner)
    if parent is not None:
        tags[PARENT] = parent
    created: str = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    return created


def _states(client: Any, experiment: str) -> Mapping[str, str]:
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment])}


def test_a_killed_stage_and_its_pipeline_are_closed_with_a_reason(client: Any, experiment: str, gone: Owner) -> None:
    seen = milliseconds() - 60_000
    parent = _run(client, experiment, "pipeline", gone)
    child = _run(client, experiment, "filter", gone, parent, alive=seen)
    assert close_dead(client, experiment, one_machine=True) == 1
    assert _states(client, experiment) == {"pipeline": "KILLED", "filter": "KILLED"}
    run = client.get_run(child)
    assert run.info.end_time == seen  # not when it was found
    assert f"process {gone.pid} on" in run.data.tags[REASON]
    assert "stage filter" in client.get_run(parent).data.tags[REASON]


def test_a_pipeline_killed_before_its_first_stage_is_closed(client: Any, experiment: str, gone: Owner) -> None:
    _run(client, experiment, "pipeline", gone)
    close_dead(client, experiment, one_machine=True)
    assert _states(client, experiment) == {"pipeline": "KILLED"}


def test_a_stage_that_goes_on_keeps_its_pipeline_open_though_dvc_was_killed(
    client: Any, experiment: str, gone: Owner
) -> None:
    parent = _run(client, experiment, "pipeline", gone)
    _run(client, experiment, "filter", HERE, parent)
    assert close_dead(client, experiment, one_machine=True) == 0
    assert set(_states(client, experiment).values()) == {"RUNNING"}


def test_another_machines_run_is_left_alone_until_it_was_silent_for_a_day(client: Any, experiment: str) -> None:
    parent = _run(client, experiment, "pipeline", ELSEWHERE)
    _run(client, experiment, "filter", ELSEWHERE, parent)
    silent = milliseconds() - int(LEASE_SECONDS * 1000) - 1
    old = _run(client, experiment, "old pipeline", ELSEWHERE, alive=silent)
    _run(client, experiment, "old filter", ELSEWHERE, old, alive=silent)
    close_dead(client, experiment, one_machine=False)
    states = _states(client, experiment)
    assert (states["pipeline"], states["filter"]) == ("RUNNING", "RUNNING")
    assert (states["old pipeline"], states["old filter"]) == ("KILLED", "KILLED")


def test_what_others_record_beside_us_is_left_alone(client: Any, experiment: str) -> None:
    client.create_run(experiment, run_name="by hand", start_time=1)
    assert close_dead(client, experiment, one_machine=True) == 0


def test_a_stage_that_was_run_again_with_success_ends_its_pipeline_well(
    client: Any, experiment: str, gone: Owner
) -> None:
    parent = _run(client, experiment, "pipeline", gone)
    failed = _run(client, experiment, "fetch", HERE, parent)
    client.set_terminated(failed, "FAILED")
    again = _run(client, experiment, "fetch", HERE, parent)
    client.set_terminated(again, "FINISHED")
    _run(client, experiment, "filter", gone, parent)
    close_dead(client, experiment, one_machine=True)
    assert client.get_run(parent).info.status == "KILLED"
    third = _run(client, experiment, "filter", HERE, parent)
    client.set_terminated(third, "FINISHED")
    settle(client, client.get_run(parent))
    assert client.get_run(parent).info.status == "FINISHED"
