"""Prefect around DVC: every stage is a task, DVC alone decides whether it has anything to do.

Stages run one after the other, because DVC locks the project while it works. A run that comes while another one works
on the same profile waits for it, whichever deployment it belongs to.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from polite_flamingo.environment import prepare_environment

prepare_environment()  # before Prefect reads it

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from polite_flamingo.launch.pipeline_run import TRACK_OUTPUTS, pipeline_environment
from polite_flamingo.launch.processes import paced, stream
from polite_flamingo.launch.project import project_of
from polite_flamingo.params import load_params
from polite_flamingo.pipeline import SECOND_GENERATION

ROOT = Path(__file__).resolve().parents[1]
DVC = (sys.executable, "-m", "dvc")
PROFILES = sorted(file.stem for file in (ROOT / "configs" / "profiles").glob("*.yaml"))
Profile = Annotated[str, Field(json_schema_extra={"enum": PROFILES})]  # what the form of a deployment offers
PROGRESS_SECONDS = 30.0  # between two lines of a progress bar in a run's log
WAIT_SECONDS = 2.0  # between two looks whether another run has ended


def stages_flow(name: str, stages: Sequence[str], description: str) -> Any:
    """A Prefect flow that brings `stages` up to date in their order and records the md5 of what they wrote.

    Args:
        name: Name of the flow.
        stages: Names of stages in dvc.yaml; those of the second generation run only where the parameters ask for it.
        description: What the flow does.
    """

    @flow(name=name, description=description, persist_result=False)
    def run(profile: Profile | None = None, data_root: str | None = None) -> None:
        """Bring stages up to date.

        Args:
            profile: Profile to run; by default the one params.yaml names.
            data_root: Folder of the real datasets, instead of the profile's.
        """
        params = load_params(ROOT / "params.yaml", profile)
        environment = pipeline_environment(params.profile, root=ROOT, data_root=data_root)
        with project_of(params.profile, ROOT, wait=Waiting(params.profile)) as project:
            for stage in stages:
                if stage in SECOND_GENERATION and params.profile not in params.second_generation:
                    continue
                command = stage_command(stage, params.profile, relist=params.world is None)
                run_command.with_options(name=stage)(command, project, environment)
            run_command.with_options(name="track_outputs")(TRACK_OUTPUTS, project, environment)

    return run


class Waiting:
    """Waits for another run, and says so once.

    Args:
        profile: What both work on.
    """

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._said = False

    def __call__(self) -> None:
        """Wait a moment."""
        if not self._said:
            get_run_logger().info("another run works on profile %s: waiting for it", self._profile)
            self._said = True
        time.sleep(WAIT_SECONDS)


@task(persist_result=False, cache_policy=NO_CACHE)
def run_command(command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    """Run one command in its own process group, its lines in the run's log; a cancelled run stops the whole group."""
    logger = get_run_logger()
    try:
        for line in paced(stream(command, cwd=folder, env=environment), PROGRESS_SECONDS):
            logger.info(line)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{' '.join(command[2:])} ended with status {error.returncode}; its log is above") from None


def stage_command(stage: str, profile: str, *, relist: bool) -> list[str]:
    """The DVC command of one stage; `relist` reads a real data root again even when DVC sees no change."""
    force = ["--force"] if relist and stage == "download" else []
    return [*DVC, "repro", "--single-item", *force, f"{stage}@{profile}"]
