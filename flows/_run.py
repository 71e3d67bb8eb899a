"""A run of stages: each in its order, some side by side, the costly ones only after somebody has approved them."""

from __future__ import annotations

import json
import queue
import subprocess
from collections.abc import Sequence
from typing import Any

from prefect.futures import PrefectFuture
from prefect.states import Completed, State

from _approval import ask
from _record import record_places
from _stage import DVC, UP_TO_DATE, Job, Waiting, like, run_stage, track_outputs
from polite_flamingo.environment import TRACKING_VARIABLE
from polite_flamingo.launch.pipeline_file import NAME, predecessors, read_stages
from polite_flamingo.launch.project import project_of
from polite_flamingo.pipeline import TUNE

MLFLOW_UI = "http://127.0.0.1:5000"  # of `make ui`


def bring_up_to_date(job: Job, stages: Sequence[str], approval_seconds: float | None) -> State:
    """Run the stages that are out of date.

    Args:
        job: What they share.
        stages: Their names, in order.
        approval_seconds: How long the run waits for somebody to approve the tuning; None: nobody is asked.

    Returns:
        How the run ends: as the first stage that did not complete.
    """
    costly = len(stages) if approval_seconds is None or TUNE[0] not in stages else stages.index(TUNE[0])
    states: dict[str, State] = {}
    failed: list[State] = []
    for part in filter(None, (stages[:costly], stages[costly:])):
        if part[0] == TUNE[0] and approval_seconds is not None and _outdated(job, part):
            refusal = ask(job, approval_seconds)
            if refusal is not None:
                return refusal
        with project_of(job.profile, job.root, wait=Waiting(f"another run works on profile {job.profile}")) as project:
            job.folder = project
            states |= Queue(job, part).run()
            failed = [like(state, stage) for stage, state in states.items() if not state.is_completed()]
            track_outputs(job, bool(failed), return_state=True)
        if failed:
            break
    record_places(job.profile, _places(job))
    if failed:
        return failed[0]
    skipped = sum(state.name == UP_TO_DATE for state in states.values())
    return Completed(message=f"{len(states) - skipped} stages ran, {skipped} were up to date")


class Queue:
    """Stages that wait, work and have ended.

    Args:
        job: What they share.
        stages: Their names; those that may begin do so in this order.
    """

    def __init__(self, job: Job, stages: Sequence[str]) -> None:
        self._job = job
        self._before = predecessors(read_stages(job.folder / NAME))
        self._waiting = list(stages)
        self._working: dict[str, int] = {}  # stage -> its share of the machine
        self._begun: dict[str, PrefectFuture[Any]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self) -> dict[str, State]:
        """Run all of them; after one that fails no other begins, and those left are shown as not ready.

        Returns:
            Stage -> how it ended, in the order they ended.
        """
        states: dict[str, State] = {}
        failed: list[PrefectFuture[Any]] = []
        free = list(range(self._job.parallel))
        try:
            while self._working or (self._waiting and not failed):
                if not failed:
                    for stage in self._ready()[: len(free)]:
                        self._begin(stage, free.pop(0))
                stage = self._ended.get()
                free.append(self._working.pop(stage))
                states[stage] = self._state(stage)
                if not states[stage].is_completed():
                    failed.append(self._begun[stage])
        except BaseException:  # a signal, above all
            self._job.stop()
            raise
        for stage in list(self._waiting):
            self._begin(stage, 0, failed)
            states[stage] = self._state(stage)
        return states

    def _ready(self) -> list[str]:
        """Those that wait for nothing any more."""
        unfinished = {*self._waiting, *self._working}
        return [stage for stage in self._waiting if self._before[stage].isdisjoint(unfinished)]

    def _begin(self, stage: str, share: int, more: Sequence[PrefectFuture[Any]] = ()) -> None:
        self._waiting.remove(stage)
        self._working[stage] = share
        wait_for = [*(self._begun[other] for other in sorted(self._before[stage]) if other in self._begun), *more]
        task = run_stage.with_options(name=stage, task_run_name=stage)
        self._begun[stage] = task.submit(self._job, stage, share, wait_for=wait_for)
        self._begun[stage].add_done_callback(lambda _: self._ended.put(stage))

    def _state(self, stage: str) -> State:
        self._begun[stage].wait()
        return self._begun[stage].state


def _places(job: Job) -> dict[str, str]:
    """Where people look after a run: its pages in MLflow, files where the worker runs."""
    server = job.environment.get(TRACKING_VARIABLE, "")
    address = server.rstrip("/") if server.startswith("http") else MLFLOW_UI
    pages = {f"MLflow: {stage}": address + path for stage, path in job.pages.items()}
    files = {
        "filtering page": job.reports / "filtering.html",
        "figures": job.reports / "figures",
        "Data Docs": job.reports / "data_docs" / "index.html",
    }
    return {**pages, **{what: str(path) for what, path in files.items() if path.exists()}}


def _outdated(job: Job, stages: Sequence[str]) -> bool:
    """Whether DVC has anything to do in any of these stages."""
    command = [*DVC, "status", "--json", *(f"{stage}@{job.profile}" for stage in stages)]
    done = subprocess.run(command, cwd=job.folder, env=job.environment, capture_output=True, text=True, check=False)
    return done.returncode != 0 or bool(json.loads(done.stdout or "{}"))
