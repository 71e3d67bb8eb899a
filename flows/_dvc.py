"""Prefect around DVC: every stage is a task, DVC alone decides whether it has anything to do.

Tasks wait for each other as dvc.yaml says. One works at a time, or as many as the profile's ``runtime.parallel`` says.
A run that comes while another one works on the same profile waits for it, whichever deployment it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from polite_flamingo.environment import prepare_environment

prepare_environment()  # before Prefect reads it

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import State
from pydantic import Field

from _run import Job, bring_up_to_date
from polite_flamingo.errors import ConfigError
from polite_flamingo.launch.changes import changed_values, commit_of
from polite_flamingo.launch.pipeline_run import pipeline_environment, require_runnable
from polite_flamingo.launch.project import profile_of
from polite_flamingo.params.reading import load_params
from polite_flamingo.pipeline import TUNE

ROOT = Path(__file__).resolve().parents[1]
PROFILES = sorted(file.stem for file in (ROOT / "configs" / "profiles").glob("*.yaml"))
Profile = Annotated[str, Field(json_schema_extra={"enum": PROFILES})]  # what the form of a deployment offers
Hours = Annotated[float, Field(gt=0)]
HOUR = 3600.0  # seconds
NAMED_CHANGES = 3  # in the name of a run


def stages_flow(name: str, stages: Sequence[str], description: str) -> Any:
    """A Prefect flow that brings `stages` up to date and records the md5 of what they wrote.

    One that tunes can be told to ask before it does.

    Args:
        name: Name of the flow.
        stages: Names of stages; of these a run has those that its profile has.
        description: What the flow does.
    """
    decorate = flow(name=name, description=description, flow_run_name=run_name(name), persist_result=False)
    if set(TUNE).isdisjoint(stages):

        @decorate
        def run(
            profile: Profile | None = None, data_root: str | None = None, stage_hours: Hours | None = None
        ) -> State:
            """Bring stages up to date.

            Args:
                profile: Profile to run; by default the one params.yaml names.
                data_root: Folder of the real datasets, instead of the profile's.
                stage_hours: Hours a stage may take before it is stopped; another run goes on where it was.
            """
            return run_stages(stages, profile, data_root, stage_hours)

        return run

    @decorate
    def run_tuning(
        profile: Profile | None = None,
        data_root: str | None = None,
        stage_hours: Hours | None = None,
        approve: bool = False,
        approval_hours: Hours = 24.0,
    ) -> State:
        """Bring stages up to date.

        Args:
            profile: Profile to run; by default the one params.yaml names.
            data_root: Folder of the real datasets, instead of the profile's.
            stage_hours: Hours a stage may take before it is stopped; another run goes on where it was.
            approve: Pause before the tuning until somebody approves what it costs; not where nothing is to be tuned.
            approval_hours: Hours after which a run that nobody has approved is cancelled.
        """
        return run_stages(stages, profile, data_root, stage_hours, approval_hours if approve else None)

    return run_tuning


def run_stages(
    stages: Sequence[str],
    profile: str | None,
    data_root: str | None,
    stage_hours: float | None,
    approval_hours: float | None = None,
) -> State:
    """Bring stages of a profile up to date; how the run of the flow ends."""
    params = load_params(ROOT / "params.yaml", profile)
    require_runnable(params)
    chosen = [stage for stage in stages if stage in params.stages]
    if not chosen:
        has = ", ".join(params.stages)
        raise ConfigError("the profile has none of this flow's stages", value=params.profile, next_step=f"it has {has}")
    environment = pipeline_environment(params.profile, root=ROOT, data_root=data_root)
    job = Job(params, ROOT, environment, None if stage_hours is None else stage_hours * HOUR)
    return bring_up_to_date(job, chosen, None if approval_hours is None else approval_hours * HOUR)


def run_name(flow_name: str) -> Callable[[], str]:
    """What names a run of a flow: profile, values that differ from the last commit's or else the commit, flow."""

    def name() -> str:
        profile = flow_run.parameters.get("profile") or profile_of(ROOT / "params.yaml")
        values = [f"{key}={value}" for key, value in changed_values(ROOT, profile).items()]
        more = [f"{len(values) - NAMED_CHANGES} more"] if len(values) > NAMED_CHANGES else []
        changes = ", ".join([*values[:NAMED_CHANGES], *more])
        return " · ".join(filter(None, [profile, changes or commit_of(ROOT), flow_name]))

    return name


def by_hand(chosen: Any) -> None:
    """Run a flow with its defaults; the exit status says whether all is well."""
    raise SystemExit(0 if chosen(return_state=True).is_completed() else 1)
