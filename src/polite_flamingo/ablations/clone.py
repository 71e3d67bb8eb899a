"""A clone of the project, in which DVC may set the parameters of experiments.

To begin an experiment, ``dvc exp run --temp`` writes its parameters into the project for a moment; a kill at that
moment leaves them there. So it works in a clone: the project's commit and uncommitted changes, DVC's state of the
profile, and the same cache. The project itself gets the finished experiments, as git references.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from polite_flamingo.errors import ConfigError, PoliteFlamingoError
from polite_flamingo.io.files import write_atomic
from polite_flamingo.launch.project import cache_section, folder_of

FOLDER = Path(".work") / "ablations" / "clone"


def clone_project(profile: str, root: Path) -> Path:
    """Make the clone anew; what an earlier one held is gone.

    Args:
        profile: The profile whose state the clone gets.
        root: Top folder of the project.

    Returns:
        The clone's top folder.

    Raises:
        ConfigError: the project is not in a git repository with a commit.
    """
    require_commit(root)
    clone = root / FOLDER
    shutil.rmtree(clone, ignore_errors=True)
    clone.parent.mkdir(parents=True, exist_ok=True)
    _git(root, "clone", "--quiet", "--local", str(root), str(clone))
    changes = _git(root, "diff", "--binary", "HEAD")
    if changes:
        _git(clone, "apply", "--whitespace=nowarn", stdin=changes)
    state = folder_of(profile, root)
    for name in ("params.yaml", "dvc.lock"):
        if (state / name).is_file():
            shutil.copyfile(state / name, clone / name)
    write_atomic(clone / ".dvc" / "config.local", cache_section(root))
    return clone


def fetch_experiment(name: str, clone: Path, root: Path) -> None:
    """Let the project know a finished experiment of its clone."""
    references = _git(clone, "for-each-ref", "--format=%(refname)", "refs/exps").decode().split()
    for reference in references:
        if reference.rpartition("/")[2] == name:
            _git(root, "fetch", "--quiet", "--no-write-fetch-head", str(clone), f"{reference}:{reference}")


def require_commit(root: Path) -> None:
    """Raise a `ConfigError` unless `root` is in a git repository with a commit, which DVC experiments need."""
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, check=False).returncode:
        raise ConfigError(
            "DVC experiments need a git repository with a commit",
            where=root,
            next_step="git init, and commit the project",
        )


def _git(folder: Path, *words: str, stdin: bytes | None = None) -> bytes:
    done = subprocess.run(["git", *words], cwd=folder, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise PoliteFlamingoError(
            f"git {words[0]} failed", value=done.stderr.decode(errors="replace").strip(), where=folder
        )
    return done.stdout
