"""The files of a project: parameters, a profile, the pipeline of its stages, git and DVC."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from polite_flamingo.errors import ConfigError
from polite_flamingo.io.files import write_atomic
from polite_flamingo.launch.pipeline_file import NAME, TEMPLATE, write_pipeline
from polite_flamingo.params.file import HEAD, render
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Paper, Params, defaults

IGNORED = """\
# what runs write: DVC keeps it, or it can be made again
/data/
/models/
/reports/*
!/reports/{profile}/
/reports/{profile}/*
!/reports/{profile}/summary.json
/derived/
/.work/
/mlruns/
/mlartifacts/
/mlflow.db
/gx/
/dvc_plots/
__pycache__/
"""
DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n"
DVC_IGNORED = "/config.local\n/tmp\n/cache\n"
PARAMS = Path("params.yaml")


def write_project(root: Path, profile: str, text: str, *, flows: bool = False) -> tuple[Params, list[str]]:
    """Write what a project lacks; what is there stays as it is.

    Args:
        root: Top folder of the project.
        profile: Name of the profile.
        text: The profile.
        flows: Bring the Prefect flows and their deployments.

    Returns:
        The profile's parameters, and the names of the files that were written.

    Raises:
        ConfigError: there is a profile of this name, or the profile cannot be used.
    """
    file = new_profile(root, profile)
    names = [file.as_posix()]
    write_atomic(root / file, text)
    new = not (root / PARAMS).exists()
    try:
        if new:
            write_atomic(root / PARAMS, render(Paper, {**defaults(), "profile": profile}, HEAD))
            names.append(str(PARAMS))
        params = load_params(root / PARAMS, profile)
    except ConfigError:
        for name in names:
            (root / name).unlink()
        raise
    names += _missing(
        root,
        {
            ".gitignore": IGNORED.format(profile=profile),
            ".dvcignore": (TEMPLATE / "dvcignore").read_text(encoding="utf-8"),
            ".dvc/.gitignore": DVC_IGNORED,
            ".dvc/config": DVC_CONFIG + ("" if _in_git(root) else "    no_scm = true\n"),
            **{
                f".dvc/plots/{plot.name}": plot.read_text(encoding="utf-8")
                for plot in sorted((TEMPLATE / "plots").glob("*.json"))
            },
        },
    )
    if flows:
        templates = [TEMPLATE / "prefect.yaml", *sorted((TEMPLATE / "flows").glob("*.py"))]
        names += _missing(root, {t.relative_to(TEMPLATE).as_posix(): t.read_text(encoding="utf-8") for t in templates})
    if new:
        write_pipeline(params, root, root)
        names.append(NAME)
    return params, names


def new_profile(root: Path, profile: str) -> Path:
    """Where a new profile will lie, below `root`.

    Raises:
        ConfigError: there is one of this name.
    """
    file = Path("configs", "profiles", f"{profile}.yaml")
    if (root / file).exists():
        raise ConfigError(
            "there is a profile of this name", value=profile, where=root / file, next_step="--name ANOTHER"
        )
    return file


def not_ignored(root: Path, profile: str) -> list[str]:
    """What a .gitignore that was there already lacks, so that git would take what runs write."""
    lines = set((root / ".gitignore").read_text(encoding="utf-8").split())
    wanted = [line for line in IGNORED.format(profile=profile).splitlines() if not line.startswith("#")]
    return [line for line in wanted if not {line, line.strip("/"), line.lstrip("/"), line.rstrip("/")} & lines]


def _missing(root: Path, files: dict[str, str]) -> list[str]:
    written = []
    for name, text in files.items():
        if not (root / name).exists():
            write_atomic(root / name, text)
            written.append(name)
    return written


def _in_git(root: Path) -> bool:
    """Whether git keeps the project; it is made a repository where none is and git is installed."""
    if shutil.which("git") is None:
        return False
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=root, capture_output=True, check=False)
    if inside.returncode:
        inside = subprocess.run(["git", "init", "--quiet"], cwd=root, capture_output=True, check=False)
    return inside.returncode == 0
