"""Running experiments, several side by side, none twice; stopping this process stops them all."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polite_flamingo.ablations.clone import clone_project, fetch_experiment
from polite_flamingo.ablations.experiments import DVC, Experiment, command
from polite_flamingo.io.locks import locked
from polite_flamingo.launch.pipeline_run import pipeline_environment
from polite_flamingo.launch.processes import Command, start, stop, terminated_as_exit
from polite_flamingo.params.schema import Params

LOG = logging.getLogger(__name__)
BEGUN = b"Reproducing experiment"  # DVC says this when the next experiment may begin
LOCKED = "Unable to acquire lock"  # another experiment was beginning
ATTEMPTS = 5


def run_all(
    params: Params,
    experiments: Sequence[Experiment],
    *,
    jobs: int,
    logs: Path,
    finished: Callable[[Experiment], None],
) -> list[Experiment]:
    """Run experiments that do not exist yet, `jobs` at a time.

    Args:
        params: The profile's parameters.
        experiments: All that there shall be.
        jobs: Experiments side by side; the cores are shared between them.
        logs: Folder for one log per experiment.
        finished: Called with every experiment there is now, as soon as it is.

    Returns:
        The experiments that failed; their logs say why.

    Raises:
        BusyError: another process is running experiments.
    """
    done = existing()
    for experiment in (e for e in experiments if e.name in done):
        finished(experiment)
    missing = [e for e in experiments if e.name not in done]
    LOG.info("%d experiments, %d of them finished before", len(experiments), len(experiments) - len(missing))
    if not missing:
        return []
    logs.mkdir(parents=True, exist_ok=True)
    root = Path.cwd()
    with locked(Path(".work") / "ablations.lock", where="polite-flamingo ablations"), terminated_as_exit():
        clone = clone_project(params.profile, root)

        def fetched(experiment: Experiment) -> None:
            fetch_experiment(experiment.name, clone, root)
            finished(experiment)

        queue = Queue(params, clone, jobs, logs, fetched, list(missing))
        try:
            queue.run()
        finally:
            queue.stop()
            shutil.rmtree(clone, ignore_errors=True)
    return queue.failed


def existing() -> set[str]:
    """Names of all experiments of this repository."""
    done = subprocess.run(
        [*DVC, "exp", "list", "--all-commits", "--name-only"], capture_output=True, text=True, check=False
    )
    return set(done.stdout.split()) if done.returncode == 0 else set()


@dataclass(slots=True)
class Run:
    """An experiment that is running.

    Args:
        experiment: Which one.
        process: Its DVC.
        log: What DVC says.
        attempt: Attempts before this one.
        begun: When it was started, by the monotonic clock.
    """

    experiment: Experiment
    process: Command
    log: Path
    attempt: int
    begun: float

    @property
    def settled(self) -> bool:
        """Whether another experiment may begin: DVC prepares one at a time."""
        return self.process.poll() is not None or BEGUN in self.log.read_bytes()

    @property
    def minutes(self) -> float:
        """Since it was started."""
        return (time.monotonic() - self.begun) / 60


@dataclass(slots=True)
class Queue:
    """Experiments that wait, run and have failed.

    Args:
        params: The profile's parameters.
        clone: The project in which DVC begins them.
        jobs: How many run side by side.
        logs: Folder for one log per experiment.
        finished: Called with each as soon as it is finished.
        waiting: Those still to run.
    """

    params: Params
    clone: Path
    jobs: int
    logs: Path
    finished: Callable[[Experiment], None]
    waiting: list[Experiment]
    running: list[Run] = field(default_factory=list)
    failed: list[Experiment] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Run all that wait."""
        while self.waiting or self.running:
            if self.waiting and len(self.running) < self.jobs and all(run.settled for run in self.running):
                self.running.append(self._start(self.waiting.pop(0)))
            time.sleep(0.5)
            for run in [run for run in self.running if run.process.poll() is not None]:
                self.running.remove(run)
                self._end(run)

    def stop(self) -> None:
        """Stop those that run."""
        for run in self.running:
            stop(run.process)

    def _start(self, experiment: Experiment) -> Run:
        path = self.logs / f"{experiment.name}.log"
        with open(path, "wb") as log:
            process = start(
                command(self.params, experiment, self.jobs),
                cwd=self.clone,
                env=_environment(self.params, self.jobs),
                log=log,
            )
        return Run(experiment, process, path, self.attempts.get(experiment.name, 0), time.monotonic())

    def _end(self, run: Run) -> None:
        if run.process.returncode == 0:
            remaining = len(self.waiting) + len(self.running)
            LOG.info("%s: %.1f min, %d to go", run.experiment.name, run.minutes, remaining)
            self.finished(run.experiment)
        elif run.attempt < ATTEMPTS and LOCKED in run.log.read_text(errors="replace"):
            self.attempts[run.experiment.name] = run.attempt + 1
            self.waiting.insert(0, run.experiment)
            time.sleep(1 + run.attempt)
        else:
            LOG.error("%s failed, see %s", run.experiment.name, run.log)
            self.failed.append(run.experiment)


def _environment(params: Params, jobs: int) -> dict[str, str]:
    """The copy's own code runs in it, on its share of the cores."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    return {**pipeline_environment(params.profile), "PYTHONPATH": "src", "OMP_NUM_THREADS": threads}
