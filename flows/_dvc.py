"""Prefect around DVC: every stage is a task, DVC alone decides whether it has anything to do.

Stages run one after the other, because DVC locks the project while it works.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.environment import prepare_environment

prepare_environment()  # before Prefect reads it

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from polite_flamingo.launch import existing_folder, pipeline_environment, use_profile
from polite_flamingo.params import load_params
from polite_flamingo.pipeline import SECOND_GENERATION
from polite_flamingo.processes import stream

__all__ = ["flow", "run_stage", "run_stages", "stage_command"]

PROJECT = Path(__file__).resolve().parents[1]
DVC = (sys.executable, "-m", "dvc")


@task(persist_result=False, cache_policy=NO_CACHE)
def run_stage(command: Sequence[str], environment: dict[str, str]) -> None:
    """Run one command in its own process group, its lines in the run's log; a cancelled run stops the whole group."""
    logger = get_run_logger()
    try:
        for line in stream(command, cwd=PROJECT, env=environment):
            logger.info(line)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{' '.join(command[2:])} ended with status {error.returncode}; its log is above") from None


def stage_command(stage: str, profile: str, *, relist: bool) -> list[str]:
    """The DVC command of one stage; `relist` reads a real data root again even when DVC sees no change."""
    force = ["--force"] if relist and stage == "download" else []
    return [*DVC, "repro", "--single-item", *force, f"{stage}@{profile}"]


def run_stages(stages: Sequence[str], profile: str | None, data_root: str | None = None) -> None:
    """Bring `stages` up to date in their order and record the md5 of what they wrote.

    Args:
        stages: Names of stages in dvc.yaml; those of the second generation only where the parameters ask for it.
        profile: Profile to run; None takes the one params.yaml names.
        data_root: Folder of the real datasets, instead of the profile's.
    """
    params = load_params(PROJECT / "params.yaml", profile)
    environment = pipeline_environment(params.profile, data_root=data_root and existing_folder(data_root))
    with use_profile(params.profile, PROJECT / "params.yaml"):
        for stage in stages:
            if stage in SECOND_GENERATION and params.profile not in params.second_generation:
                continue
            command = stage_command(stage, params.profile, relist=params.world is None)
            run_stage.with_options(name=stage)(command, environment)
        record = [sys.executable, "-m", "polite_flamingo", "track_outputs"]
        run_stage.with_options(name="track_outputs")(record, environment)
