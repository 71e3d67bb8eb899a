"""dvc.yaml as written for one profile: the values of a stage's own ``vars`` in their places, profiles still open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # seven times as fast, where libyaml is there


def read_stages(path: Path) -> dict[str, dict[str, Any]]:
    """The stages of a dvc.yaml by name; ``${profile}`` and ``${item.profile}`` stay as they are."""
    stages = yaml.load(path.read_text(encoding="utf-8"), LOADER)["stages"]
    return {name: _filled(stage) for name, stage in stages.items()}


def predecessors(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Stage -> the stages whose outputs it reads."""
    written = {_path(out): name for name, stage in stages.items() for kind in ("outs", "metrics", "plots")
               for out in stage.get(kind, ())}  # fmt: skip
    return {
        name: {
            writer
            for dep in map(_path, stage.get("deps", ()))
            for out, writer in written.items()
            if writer != name and overlap(dep, out)
        }
        for name, stage in stages.items()
    }


def overlap(one: str, other: str) -> bool:
    """Whether two paths are one, or one lies below the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _path(entry: str | Mapping[str, Any]) -> str:
    path = entry if isinstance(entry, str) else next(iter(entry))
    return path.replace("${item.profile}", "${profile}")


def _filled(stage: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps({key: value for key, value in stage.items() if key != "vars"})
    for values in stage.get("vars", []):
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", str(value))
    filled: dict[str, Any] = json.loads(text)
    return filled
