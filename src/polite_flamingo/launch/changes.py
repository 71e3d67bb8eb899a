"""What tells a run from the last commit: parameters with other values, or that commit's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.tracking.base import flatten
from polite_flamingo.tracking.git import committed, git_tags

SHORT = 7  # characters of a commit's name


def changed_values(root: Path, profile: str) -> dict[str, Any]:
    """Parameters whose value differs from the last commit's.

    Args:
        root: Top folder of the project.
        profile: The profile, whose file is looked at beside params.yaml.

    Returns:
        Dotted name -> value, in their order; empty where git knows no commit of these files.
    """
    changed: dict[str, Any] = {}
    for path in (Path("params.yaml"), Path("configs", "profiles", f"{profile}.yaml")):
        text = committed(path, root)
        if text is not None and (root / path).is_file():
            before = flatten(yaml.safe_load(text) or {})
            after = flatten(yaml.safe_load((root / path).read_text(encoding="utf-8")) or {})
            changed |= {name: after.get(name) for name in {**before, **after} if before.get(name) != after.get(name)}
    return {name.removeprefix("overrides."): value for name, value in changed.items()}


def commit_of(root: Path) -> str:
    """Short name of the last commit, with a ``+`` where tracked files differ from it; empty where there is none."""
    tags = git_tags(root)
    if tags["git.commit"] == "unknown":
        return ""
    return tags["git.commit"][:SHORT] + ("+" if tags["git.dirty"] == "true" else "")
