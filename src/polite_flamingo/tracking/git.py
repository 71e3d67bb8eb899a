"""What git says of the code that runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def git_tags(root: Path) -> dict[str, str]:
    """Commit, branch and address of the working tree, and whether tracked files differ from it.

    dvc.lock, which runs rewrite, is left aside; so are passwords in the address.
    """
    commit = _git(root, "rev-parse", "HEAD") or "unknown"
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)dvc.lock")
    dirty = "unknown" if changed is None else str(bool(changed)).lower()
    tags = {"git.commit": commit, "git.dirty": dirty, "mlflow.source.git.dirty": dirty}
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD")
    address = _git(root, "config", "--get", "remote.origin.url")
    if commit != "unknown":
        tags["mlflow.source.git.commit"] = commit
    if branch not in (None, "HEAD"):
        tags["mlflow.source.git.branch"] = branch
    if address:
        tags["mlflow.source.git.repoURL"] = re.sub(r"//[^/@]*@", "//", address)
    return tags


def committed(path: Path, root: Path = Path()) -> str | None:
    """Text of a file as it is in the last commit; None where there is none.

    Args:
        path: The file, relative to `root`.
        root: Top folder of the project.
    """
    return _git(root, "show", f"HEAD:./{path.as_posix()}")


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
