"""The folders a version consists of: small ones are copied into it, large ones are referred to by their content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ModelError

ROOT_VARIABLE = "POLITE_FLAMINGO_MODELS_ROOT"  # top of the project whose models a version refers to


def folder_md5(folder: Path) -> str:
    """Content hash of a folder as dvc.lock has it: the md5 of the list of its files' md5."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": _md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def located(name: str, copied: Mapping[str, str], referred: Mapping[str, Mapping[str, Any]]) -> Path:
    """Folder of a part.

    Args:
        name: ``base`` or ``adapter``.
        copied: Folders that came with the version.
        referred: Of the others: ``path`` below the project, ``md5``, ``commit`` of git.

    Raises:
        ModelError: a part that is referred to is not there, or is another one.
    """
    if name in copied:
        return Path(copied[name])
    part = referred[name]
    folder = Path(os.environ.get(ROOT_VARIABLE, "")) / part["path"]
    step = (
        f"`dvc get . {part['path']} --rev {part['commit']}` brings it; {ROOT_VARIABLE} names the project it lies below"
    )
    if not folder.is_dir():
        raise ModelError("the version refers to weights that are not here", where=folder, next_step=step)
    if (found := folder_md5(folder)) != part["md5"]:
        raise ModelError(f"the version refers to weights {part['md5']}", value=found, where=folder, next_step=step)
    return folder


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
