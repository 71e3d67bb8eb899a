"""Hashes of content: of files, of whatever a result depends on, and of a folder that is finished."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import sync_folder
from polite_flamingo.io.text import read_json, write_json

OTHER_BYTES = "its bytes are not those that were written"
SEAL = "sha256.json"  # hashes of a sealed folder's files


def fingerprint(*parts: object) -> str:
    """Content hash of JSON-able `parts`; a `Path` counts with the bytes of its file or of every file below it."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = [part] if part.is_file() else sorted(p for p in part.rglob("*") if p.is_file())
            for file in files:
                digest.update(file.relative_to(part.parent).as_posix().encode())
                digest.update(hash_file(file).encode())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Write the hashes of a folder's files into it, last of all, for `flaw`; then all of it survives a power cut."""
    for path in _files_below(folder):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    write_json(folder / SEAL, {path.relative_to(folder).as_posix(): hash_file(path) for path in _files_below(folder)})
    sync_folder(folder)


def flaw(folder: Path) -> str | None:
    """What is wrong with a folder that `seal` ended; None: it is as it was then."""
    if not (folder / SEAL).is_file():
        return "it is not complete"
    try:
        written = read_json(folder / SEAL)
        found = {path.relative_to(folder).as_posix(): hash_file(path) for path in _files_below(folder)}
    except (DataError, OSError) as error:
        return str(error)
    return None if found == written else OTHER_BYTES


def _files_below(folder: Path) -> list[Path]:
    """The files of a folder, but for its seal."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SEAL)
