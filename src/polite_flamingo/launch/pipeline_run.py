"""A run of the pipeline with DVC, which alone decides what there is to do."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.environment import DEVICE_VARIABLE, PIPELINE_VARIABLE, TRACKING_VARIABLE
from polite_flamingo.errors import ConfigError
from polite_flamingo.jobs.backends.chat_completion import check_url
from polite_flamingo.jobs.backends.load import FLAMINGO, FORMS, SHIPPED
from polite_flamingo.jobs.backends.reachable import require_endpoint
from polite_flamingo.launch.processes import call, terminated_as_exit
from polite_flamingo.launch.project import project_of
from polite_flamingo.params.schema import DATA_ROOT_VARIABLE, Params
from polite_flamingo.plugins import named
from polite_flamingo.scorers.load import SCORERS
from polite_flamingo.tracking.owner import Owner

LOG = logging.getLogger(__name__)

TRACK_OUTPUTS = (sys.executable, "-m", "polite_flamingo", "track-outputs")


def run_pipeline(
    params: Params,
    *,
    until: str | None = None,
    data_root: str | None = None,
    device: str | None = None,
    end_other: bool = False,
) -> int:
    """Run the pipeline of a profile with DVC on this terminal, then record the md5 of what was written.

    The files below a real data root may have changed without DVC seeing it, so that `download` lists them again.

    Args:
        params: The profile's parameters.
        until: Last stage; None runs all.
        data_root: Where the real files lie, instead of the profile's ``data_root``.
        device: Instead of the profile's ``runtime.device``.
        end_other: End another run of this profile instead of refusing.

    Returns:
        Exit status of DVC.

    Raises:
        BusyError: another run of this profile is going on.
        ConfigError: the profile wants what it cannot have, or has no stage `until`.
        EndpointDownError: an endpoint that is needed does not answer.
    """
    require_runnable(params, until)
    require_endpoints(params, until)
    environment = pipeline_environment(params.profile, data_root=data_root, device=device)
    with project_of(params.profile, end_other=end_other) as project, terminated_as_exit():
        code = 0
        for command in repro_commands(params, [until] if until else []):
            code = code or call(command, cwd=project, env=environment)
        call([*TRACK_OUTPUTS, *(["--failed"] if code else [])], cwd=project, env=environment)
    return code


def require_runnable(params: Params, until: str | None = None) -> None:
    """Refuse, before any work, a run that could not come to its end.

    Raises:
        ConfigError: names everything the profile wants and cannot have, or the stages it has where `until` is none.
    """
    profile = f"configs/profiles/{params.profile}.yaml"
    problems = params.contradictions()
    if problems:
        raise ConfigError(
            "the profile contradicts itself:\n    " + "\n    ".join(problems),
            where=profile,
            next_step="mend all of them",
        )
    require_backend(params.rewriter_backend, profile)
    drawn = [name for name in SCORERS if getattr(params.backbones, name).startswith("packaged")]
    if params.world is None and drawn:
        LOG.warning(
            "%s: the packaged model has seen drawn shapes and no photograph; on your data its scores mean nothing",
            ", ".join(f"backbones.{name}" for name in drawn),
        )
    if until is not None and until not in params.stages:
        raise ConfigError(
            "the profile has no such stage", value=until, where=profile, next_step=f"one of {', '.join(params.stages)}"
        )


def require_backend(spec: str, where: str) -> None:
    """Refuse a rewriter that is written in none of the forms there are.

    Args:
        spec: As in ``rewriter_backend``.
        where: File or option that names it.

    Raises:
        ConfigError: says which forms there are.
    """
    kind, _, rest = spec.partition(":")
    url, _, model = rest.rpartition("#")
    if kind == "openai" and url and model:
        check_url(url)
    elif spec not in (FLAMINGO, SHIPPED) and not (kind == "hf" and rest) and kind not in named("backends"):
        raise ConfigError("unknown backend", value=spec, where=where, next_step=f"one of: {FORMS}")


def require_endpoints(params: Params, until: str | None = None) -> None:
    """Ask the endpoints that a run will need whether they answer, unless what they give is there already.

    Raises:
        EndpointDownError: one does not.
    """
    asked = {
        "distort": (params.distortion_backend, params.data / "pairs"),
        "rewrite": (params.rewriter_backend, params.data / "rewrites"),
        "score": (params.score.judge.backend or "", params.data / "scored"),
    }
    last = params.stages.index(until) if until else len(params.stages)
    for stage, (backend, written) in asked.items():
        if stage in params.stages[: last + 1] and not written.is_dir():
            require_endpoint(backend)


def repro_commands(params: Params, stages: Sequence[str]) -> list[list[str]]:
    """The DVC commands that bring `stages` (none: everything) up to date."""
    repro = [sys.executable, "-m", "dvc", "repro"]
    commands = []
    if params.world is None:
        commands.append([*repro, "--force", "--single-item", f"download@{params.profile}"])
    commands.append([*repro, *(f"{stage}@{params.profile}" for stage in stages)])
    return commands


def pipeline_environment(
    profile: str, *, root: Path = Path(), data_root: str | None = None, device: str | None = None
) -> dict[str, str]:
    """Environment of a pipeline's processes: this interpreter's tools first, one name and one MLflow for all."""
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment.setdefault(PIPELINE_VARIABLE, f"{profile}-{uuid.uuid4().hex[:12]}@{Owner.of(os.getpid())}")
    environment.setdefault(TRACKING_VARIABLE, f"sqlite:///{root.resolve() / 'mlflow.db'}")
    if data_root is not None:
        environment[DATA_ROOT_VARIABLE] = existing_folder(data_root)
    if device is not None:
        environment[DEVICE_VARIABLE] = device
    return environment


def existing_folder(path: str) -> str:
    """Absolute form of a data root that must be there.

    Raises:
        ConfigError: it is no folder.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ConfigError("data root is no folder", value=path, next_step="give the folder that holds the datasets")
    return str(folder.resolve())
