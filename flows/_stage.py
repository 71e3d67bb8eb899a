"""One stage as a task: a DVC command in its own process group, its lines in the run's log, its error in the state."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Cancelled, Completed, Failed, State
from prefect.tasks import Task, exponential_backoff

from _record import Progress, record_figures, record_rows
from polite_flamingo.environment import FAILURE_VARIABLE
from polite_flamingo.launch.failures import find_failure
from polite_flamingo.launch.pipeline_run import TRACK_OUTPUTS
from polite_flamingo.launch.processes import Command, paced, stop, stream
from polite_flamingo.params.schema import Params

DVC = (sys.executable, "-m", "dvc")
PROGRESS_SECONDS = 30.0  # between two lines of a progress bar in a run's log
WAIT_SECONDS = 2.0  # between two looks whether another run has ended
ASK_SECONDS = 20.0  # between two starts of a DVC that another one blocks
STOPPED = "stopped with its run"
RETRIES = 5
BACKOFF_SECONDS = 60.0  # before the second try; then doubled
JITTER = 0.3  # share by which a pause may differ
UNREACHABLE, GATE_FAILED, TIMED_OUT, UP_TO_DATE = "Unreachable", "GateFailed", "TimedOut", "UpToDate"  # names of states
BLOCKED = re.compile(r"is busy, it is being blocked by|Unable to acquire lock")  # what DVC says beside another DVC
LAST_LINES = 20  # of a command, to tell why it failed
SKIPPED = re.compile(r"Stage '\S+' didn't change, skipping")


class Work:
    """Processes that belong together.

    Args:
        folder: Where they run.
        environment: Of each of them.
        limit: Seconds that each may take; None: as long as it wants.
    """

    def __init__(self, folder: Path, environment: dict[str, str], limit: float | None = None) -> None:
        self.folder = folder
        self.environment = environment
        self.limit = limit
        self.running: set[Command] = set()
        self.stopped = False

    def stop(self) -> None:
        """Stop whatever runs, for good."""
        self.stopped = True
        for process in list(self.running):
            stop(process)


class Job(Work):
    """The stages of a run.

    Args:
        params: The profile's parameters.
        root: Top folder of the project, where they run unless a side project is told.
        environment: Of every process.
        limit: Seconds that a stage may take; None: as long as it wants.
    """

    def __init__(self, params: Params, root: Path, environment: dict[str, str], limit: float | None = None) -> None:
        super().__init__(root, environment, limit)
        self.root = root
        self.profile = params.profile
        self.reports = root / params.reports
        self.pages: dict[str, str] = {}  # stage -> path of its page in the MLflow UI
        self.parallel = params.runtime.parallel
        self._processes = params.runtime.processes
        self._threads = params.runtime.threads
        self._real = params.world is None

    def command(self, stage: str) -> list[str]:
        """The DVC command of one stage; a real data root is read again even when DVC sees no change."""
        force = ["--force"] if self._real and stage == "download" else []
        return [*DVC, "--wait-for-lock", "repro", "--single-item", *force, f"{stage}@{self.profile}"]

    def share(self, number: int) -> dict[str, str]:
        """Variables that give a stage its share of the machine: GPUs of its own, and its part of the threads."""
        if self.parallel == 1:
            return {}
        known = self.environment.get("CUDA_VISIBLE_DEVICES")
        devices = known.split(",") if known else [str(index) for index in range(self.parallel * self._processes)]
        own = devices[number * self._processes : (number + 1) * self._processes]
        return {"CUDA_VISIBLE_DEVICES": ",".join(own), "OMP_NUM_THREADS": str(max(1, self._threads // self.parallel))}


def may_pass(_task: Task, _run: TaskRun, state: State) -> bool:
    """Whether another try may help: where something out there does not answer, and only there."""
    return state.name == UNREACHABLE


PATIENT = {
    "persist_result": False,
    "cache_policy": NO_CACHE,
    "retries": RETRIES,
    "retry_delay_seconds": exponential_backoff(BACKOFF_SECONDS),
    "retry_jitter_factor": JITTER,
    "retry_condition_fn": may_pass,
}  # of a task that may need what is out there


class Waiting:
    """Waits for somebody, and says so once.

    Args:
        why: What is waited for.
        seconds: How long a moment is.
    """

    def __init__(self, why: str, seconds: float = WAIT_SECONDS) -> None:
        self._why = why
        self._seconds = seconds
        self._said = False

    def __call__(self) -> None:
        """Wait a moment."""
        if not self._said:
            get_run_logger().info("%s: waiting for it", self._why)
            self._said = True
        time.sleep(self._seconds)


@task(**PATIENT)
def run_stage(job: Job, stage: str, share: int) -> State:
    """Bring one stage up to date.

    Args:
        job: What the stages of the run share.
        stage: Its name.
        share: Number of its share of the machine.

    Returns:
        How it ended; the message of a failure is the stage's own.
    """
    progress = Progress(job.profile, stage)
    waiting = Waiting(f"another DVC works on what {stage} needs", ASK_SECONDS)
    while True:
        lines, state = run_command(job, job.command(stage), job.share(share), progress)
        if state.is_completed() or not any(map(BLOCKED.search, lines)):
            break
        waiting()
    if any(map(SKIPPED.search, lines)):
        return Completed(name=UP_TO_DATE, message="nothing it depends on has changed")
    if state.is_completed():
        progress.end()
        record_figures(job.profile, stage, job.reports)
    elif state.name == GATE_FAILED:
        record_rows(job.profile, stage, job.folder)
    return state


def run_command(
    work: Work, command: Sequence[str], more: dict[str, str], progress: Progress | None = None
) -> tuple[list[str], State]:
    """Run a command; its last lines, and how it ended.

    Args:
        work: What it belongs to.
        command: What to run.
        more: Variables beside the work's.
        progress: Sees every line.
    """
    logger = get_run_logger()
    last: list[str] = []
    if work.stopped:
        return last, Cancelled(message=STOPPED)
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / "failure.json"
        environment = {**work.environment, **more, FAILURE_VARIABLE: str(left)}
        output = stream(command, cwd=work.folder, env=environment, limit=work.limit, running=work.running)
        try:
            for line in paced(output, PROGRESS_SECONDS):
                if not any(map(BLOCKED.search, [*last, line])):  # it will be asked again
                    logger.info(line)
                last = [*last[-LAST_LINES:], line]
                if progress is not None:
                    progress(line)
        except TimeoutError as error:
            return last, Failed(name=TIMED_OUT, message=f"{error}; another run goes on where it was")
        except subprocess.CalledProcessError as error:
            if work.stopped:
                return last, Cancelled(message=STOPPED)
            failure = find_failure(left)
            if failure is None:
                words = " ".join(command[2:])
                return last, Failed(message=f"{words} ended with status {error.returncode}: {last[-1] if last else ''}")
            name = UNREACHABLE if failure.passing else GATE_FAILED if failure.of_a_gate else None
            return last, Failed(name=name, message=failure.message)
    return last, Completed()


@task(name="track_outputs", task_run_name="track_outputs", persist_result=False, cache_policy=NO_CACHE)
def track_outputs(job: Job, failed: bool) -> State:
    """Record the md5 of what the stages wrote, and where MLflow shows their runs.

    Args:
        job: The stages of the run.
        failed: One of them did not complete.
    """
    lines, state = run_command(job, [*TRACK_OUTPUTS, "--pages", *(["--failed"] if failed else [])], {})
    with suppress(IndexError, ValueError, TypeError):
        job.pages |= json.loads(lines[-1])
    return state


def like(state: State, name: str) -> State:
    """The state of a task as one that a flow may end in; the message tells the task's name."""
    return State(type=state.type, name=state.name, message=f"{name}: {state.message}" if state.message else None)
