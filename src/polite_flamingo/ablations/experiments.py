"""Run variants as DVC experiments: each in a temporary copy of the project, several side by side, none twice.

An experiment is named after its variant, its seed and a key of everything it depends on (code, data, parameters). One
that exists is finished, whatever happened since; `dvc exp show` lists them beside each other. Stages that variants
share, such as stage 1 of the same seed, come from DVC's cache.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.ablations.variants import BASE, Variant, assignments, changed
from polite_flamingo.errors import ConfigError, PoliteFlamingoError
from polite_flamingo.io import fingerprint, locked
from polite_flamingo.launch import pipeline_environment, use_profile
from polite_flamingo.params import Params
from polite_flamingo.processes import call, start, stop, terminated_as_exit

LOG = logging.getLogger(__name__)
DVC = (sys.executable, "-m", "dvc")
STAGES = ("tune_stage1", "tune_stage2", "tune_stage3", "evaluate")
BASELINE = "models/{profile}/raw"  # `evaluate` lists it, no variant measures it
COPIES = Path(".dvc/tmp/exps/standalone")  # where DVC runs its temporary copies of the project
BEGUN = b"Reproducing experiment"  # DVC says this when it has put the project back as it found it
PATIENCE = 120.0  # seconds that a stopped run waits for that
LOCKED = "Unable to acquire lock"  # somebody else's DVC was at work
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Experiment:
    """One variant with one seed.

    Args:
        variant: What is changed.
        seed: `tune.seed`.
        changes: All parameters that differ from the profile's.
        name: Name of the DVC experiment.
    """

    variant: Variant
    seed: int
    changes: Mapping[str, Any]
    name: str


def experiments(
    params: Params,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    extra: Mapping[str, Any],
    recipe_seeds: Sequence[int] = (),
) -> list[Experiment]:
    """All experiments, seed by seed within a variant, the recipe first: the others find its stage 1 in the cache.

    Args:
        params: The profile's parameters.
        variants: What to change.
        seeds: Values of `tune.seed`.
        extra: Changes made to every experiment, such as smaller budgets.
        recipe_seeds: More seeds for the recipe alone.
    """
    inputs = _inputs(params.profile)
    found = []
    for variant in variants:
        more = recipe_seeds if variant.name == BASE else ()
        for seed in dict.fromkeys((*seeds, *more)):
            changes = {**extra, **variant.changes, "tune.seed": seed, "evaluate.models": list(variant.stages)}
            resolved = changed(params, changes).model_dump(mode="json", exclude={"runtime", "overridden"})
            name = f"{variant.name}-seed{seed}-{fingerprint(inputs, resolved)[:8]}"
            found.append(Experiment(variant, seed, changes, name))
    return found


def prepare(params: Params) -> None:
    """Bring everything the experiments start from up to date: PF-1M, the backbones, the evaluation samples.

    Raises:
        ConfigError: the project is not in a git repository, which DVC experiments need.
        PoliteFlamingoError: DVC failed.
    """
    if subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        raise ConfigError(
            "DVC experiments need a git repository with a commit",
            where=Path.cwd(),
            next_step="git init, and commit the project",
        )
    with use_profile(params.profile), terminated_as_exit():
        code = call([*DVC, "repro", f"check_pf1m@{params.profile}"], env=pipeline_environment(params.profile))
    if code:
        raise PoliteFlamingoError("DVC could not bring the data up to date", value=code, next_step="see its messages")


def existing() -> set[str]:
    """Names of all experiments of this repository."""
    done = subprocess.run(
        [*DVC, "exp", "list", "--all-commits", "--name-only"], capture_output=True, text=True, check=False
    )
    return set(done.stdout.split()) if done.returncode == 0 else set()


def run_all(
    params: Params,
    wanted: Sequence[Experiment],
    *,
    jobs: int,
    logs: Path,
    finished: Callable[[Experiment], None],
) -> list[Experiment]:
    """Run experiments that do not exist yet, `jobs` at a time; stopping this process stops them all.

    To begin one, DVC sets the parameters in the project, keeps a copy and puts the project back. One begins at a time,
    and none is stopped at that moment.

    Args:
        params: The profile's parameters.
        wanted: The experiments.
        jobs: Experiments side by side; the cores are shared between them.
        logs: Folder for one log per experiment.
        finished: Called with every experiment there is now, as soon as it is.

    Returns:
        The experiments that failed; their logs say why.
    """
    there = existing()
    for experiment in (e for e in wanted if e.name in there):
        finished(experiment)
    waiting = [e for e in wanted if e.name not in there]
    total, failed = len(waiting), []
    running: dict[subprocess.Popen[str], tuple[Experiment, float, int]] = {}
    tries: dict[str, int] = {}
    logs.mkdir(parents=True, exist_ok=True)

    def settled(process: subprocess.Popen[str]) -> bool:
        return process.poll() is not None or BEGUN in (logs / f"{running[process][0].name}.log").read_bytes()

    copies = set(COPIES.glob("tmp*"))
    LOG.info("%d experiments, %d of them finished before", len(wanted), len(wanted) - total)
    with locked(Path(".work") / "ablations.lock", where="polite-flamingo ablations"), terminated_as_exit():
        try:
            while waiting or running:
                if waiting and len(running) < jobs and all(settled(process) for process in running):
                    experiment = waiting.pop(0)
                    with open(logs / f"{experiment.name}.log", "wb") as log:
                        process = start(command(params, experiment, jobs), env=_environment(params, jobs), log=log)
                    running[process] = experiment, time.monotonic(), tries.get(experiment.name, 0)
                time.sleep(0.5)
                for process in [p for p in running if p.poll() is not None]:
                    experiment, begun, tried = running.pop(process)
                    if process.returncode == 0:
                        minutes = (time.monotonic() - begun) / 60
                        LOG.info("%s: %.1f min, %d to go", experiment.name, minutes, len(waiting) + len(running))
                        finished(experiment)
                    elif tried < ATTEMPTS and LOCKED in (logs / f"{experiment.name}.log").read_text(errors="replace"):
                        tries[experiment.name] = tried + 1
                        waiting.insert(0, experiment)
                        time.sleep(1 + tried)
                    else:
                        LOG.error("%s failed, see %s", experiment.name, logs / f"{experiment.name}.log")
                        failed.append(experiment)
        finally:
            deadline = time.monotonic() + PATIENCE
            while not all(settled(process) for process in running) and time.monotonic() < deadline:
                time.sleep(0.2)
            for process in running:
                stop(process)
            for copy in set(COPIES.glob("tmp*")) - copies if running else ():  # a killed DVC leaves them behind
                shutil.rmtree(copy, ignore_errors=True)
    return failed


def command(params: Params, experiment: Experiment, jobs: int = 1) -> list[str]:
    """The DVC command of an experiment. Stages run one by one, so that `evaluate` does not ask for ``tune_raw``."""
    machine = {"runtime.tracking": "none", "runtime.threads": max(1, (os.cpu_count() or 1) // jobs)}
    settings = assignments(params, {**experiment.changes, **machine})
    return [
        *(*DVC, "exp", "run", "--temp", "--single-item", "--name", experiment.name),
        *(word for setting in settings for word in ("--set-param", setting)),
        *("--set-param", f"params.yaml:profile={params.profile}"),
        *(f"{stage}@{params.profile}" for stage in STAGES),
    ]


def _environment(params: Params, jobs: int) -> dict[str, str]:
    """The copy's own code runs in it, on its share of the cores."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    return {**pipeline_environment(params.profile), "PYTHONPATH": "src", "OMP_NUM_THREADS": threads}


def _inputs(profile: str) -> list[Any]:
    """Content of all that the stages read and no stage among them writes: code, and data as dvc.lock knows it."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8")) if Path("dvc.lock").is_file() else {}
    written = {
        out["path"]: out.get("md5") for stage in (lock.get("stages") or {}).values() for out in stage.get("outs", ())
    }
    paths = {dep.replace("${profile}", profile) for name in STAGES for dep in stages[name]["deps"]}
    paths -= {out.replace("${profile}", profile) for name in STAGES for out in stages[name]["outs"]}
    paths.discard(BASELINE.format(profile=profile))
    found: list[Any] = []
    for path in sorted(paths):
        if path.startswith("src/"):
            found.append([path, [[str(file), fingerprint(file)] for file in _sources(Path(path))]])
        else:
            holders = [md5 for out, md5 in written.items() if path == out or path.startswith(f"{out}/")]
            found.append([path, holders])
    return found


def _sources(path: Path) -> list[Path]:
    """A source file, or those below a folder; what Python compiled is no source."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
