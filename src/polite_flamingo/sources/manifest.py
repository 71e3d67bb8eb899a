"""The list of official files that stands for them where they stay in place: path, size and hash of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from polite_flamingo.errors import DataError
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.text import write_json
from polite_flamingo.sources.forms.files import contents
from polite_flamingo.sources.selection import Selection


def write_manifest(root: Path, folders: Iterable[str], path: Path, *, hint: str = "") -> list[dict[str, Any]]:
    """List every file below the `folders` of `root` with size in bytes and SHA-256, sorted by path.

    Hidden files are left out. Links count as what they point to, as long as that lies below `root`.

    Args:
        root: Data root.
        folders: Dataset folders below it.
        path: JSON file to write.
        hint: How to name another data root, for the error.

    Raises:
        DataError: `root` or one of the folders does not exist.
    """
    if not root.is_dir():
        raise DataError("the data root does not exist", value=str(root), next_step=hint)
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        step = f"name those that are there, or {hint}; there are {contents(root)}"
        raise DataError("the data root lacks dataset folders", value=missing, where=root.absolute(), next_step=step)
    base = root.resolve()
    files = {
        file.relative_to(root).as_posix(): file
        for folder in folders
        for file in (root / folder).rglob("*")
        if file.is_file() and not file.name.startswith(".") and file.resolve().is_relative_to(base)
    }
    rows = [
        {"path": name, "size": files[name].stat().st_size, "sha256": hash_file(files[name])}
        for name in tqdm(sorted(files), desc="manifest", unit="file", mininterval=1.0)
    ]
    write_json(path, rows)
    return rows


def dataset_folders(root: Path, selections: Sequence[Selection]) -> list[str]:
    """Folders below the data root that the selected sources read, those of their siblings included where they exist."""
    siblings = {name for s in selections for name in s.reader.siblings if (root / name).is_dir()}
    return sorted({s.spec.folder for s in selections} | siblings)
