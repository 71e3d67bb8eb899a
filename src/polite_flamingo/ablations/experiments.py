"""Variants as DVC experiments, each in a temporary copy of the project.

An experiment is named after its variant, its seed and a key of everything it depends on (code, data, parameters). One
that exists is finished, whatever happened since; `dvc exp show` lists them beside each other. Stages that variants
share, such as stage 1 of the same seed, come from DVC's cache.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.ablations.clone import require_commit
from polite_flamingo.ablations.variants import BASE, Variant, assignments
from polite_flamingo.errors import PoliteFlamingoError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.launch.pipeline_file import read_stages
from polite_flamingo.launch.pipeline_run import pipeline_environment
from polite_flamingo.launch.processes import call, terminated_as_exit
from polite_flamingo.launch.project import folder_of, project_of
from polite_flamingo.params.changes import changed
from polite_flamingo.params.schema import Params

DVC = (sys.executable, "-m", "dvc")
STAGES = ("tune_stage1", "tune_stage2", "tune_stage3", "evaluate")
SUMMARY = "summary"  # what `dvc exp show` has of it
BASELINE = "models/{profile}/raw"  # DVC wants it for `evaluate`, no variant measures it


@dataclass(frozen=True, slots=True)
class Experiment:
    """One variant with one seed.

    Args:
        variant: What is changed.
        seed: `tune.common.seed`.
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
        seeds: Values of `tune.common.seed`.
        extra: Changes made to every experiment, such as smaller budgets.
        recipe_seeds: More seeds for the recipe alone.
    """
    inputs = _inputs(params.profile)
    selected = []
    for variant in variants:
        more = recipe_seeds if variant.name == BASE else ()
        for seed in dict.fromkeys((*seeds, *more)):
            changes = {**extra, **variant.changes, "tune.common.seed": seed, "evaluate.models": list(variant.stages)}
            resolved = changed(params, changes).model_dump(mode="json", exclude={"runtime", "overridden"})
            name = f"{variant.name}-seed{seed}-{fingerprint(inputs, resolved)[:8]}"
            selected.append(Experiment(variant, seed, changes, name))
    return selected


def prepare(params: Params) -> None:
    """Bring everything the experiments start from up to date: PF-1M, the backbones, the evaluation samples.

    Raises:
        ConfigError: the project is not in a git repository, which DVC experiments need.
        PoliteFlamingoError: DVC failed.
    """
    require_commit(Path.cwd())
    environment = pipeline_environment(params.profile)
    missing = [] if Path(BASELINE.format(profile=params.profile)).is_dir() else ["tune_raw"]
    stages = [f"{stage}@{params.profile}" for stage in ("check_pf1m", *missing)]
    with project_of(params.profile) as project, terminated_as_exit():
        code = call([*DVC, "repro", *stages], cwd=project, env=environment)
    if code:
        raise PoliteFlamingoError("DVC could not bring the data up to date", value=code, next_step="see its messages")


def command(params: Params, experiment: Experiment, jobs: int = 1) -> list[str]:
    """The DVC command of an experiment. Stages run one by one, so that `evaluate` does not ask for ``tune_raw``."""
    machine = {"runtime.tracking": "none", "runtime.threads": max(1, (os.cpu_count() or 1) // jobs)}
    settings = assignments(params, {**experiment.changes, **machine})
    return [
        *(*DVC, "exp", "run", "--temp", "--single-item", "--name", experiment.name),
        *(word for setting in settings for word in ("--set-param", setting)),
        *(f"{stage}@{params.profile}" for stage in (*STAGES, SUMMARY)),
    ]


def _inputs(profile: str) -> list[Any]:
    """Content of all that the stages read and no stage among them writes: code, and data as dvc.lock knows it."""
    stages = read_stages(Path("dvc.yaml"))
    lock_file = folder_of(profile, Path()) / "dvc.lock"
    lock = yaml.safe_load(lock_file.read_text(encoding="utf-8")) if lock_file.is_file() else {}
    written = {
        out["path"]: out.get("md5") for stage in (lock.get("stages") or {}).values() for out in stage.get("outs", ())
    }
    paths = {dep.replace("${profile}", profile) for name in STAGES for dep in stages[name]["deps"]}
    paths -= {out.replace("${profile}", profile) for name in STAGES for out in stages[name]["outs"]}
    paths.discard(BASELINE.format(profile=profile))
    inputs: list[Any] = []
    for path in sorted(paths):
        if path.startswith("src/"):
            inputs.append([path, [[str(file), fingerprint(file)] for file in _sources(Path(path))]])
        else:
            holders = [md5 for out, md5 in written.items() if path == out or path.startswith(f"{out}/")]
            inputs.append([path, holders])
    return inputs


def _sources(path: Path) -> list[Path]:
    """A source file, or those below a folder; what Python compiled is no source."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
