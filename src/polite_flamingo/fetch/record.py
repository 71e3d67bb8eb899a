"""What has been fetched: ``.fetched.json`` in the dataset's folder, so that nothing is fetched or unpacked twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.records import Image
from polite_flamingo.sources.registry import RemoteFile

NAME = ".fetched.json"
LOCK = ".fetch.lock"


def target_of(folder: Path, remote: RemoteFile) -> Path:
    """Where a file goes; a name that leads out of `folder` is a `DataError`."""
    return folder / Image(remote.to).path


def read_record(folder: Path) -> dict[str, Any]:
    """Facts by name of the file: ``url``, ``bytes``, ``sha256``, and ``unpacked`` once that is done."""
    try:
        record = read_json(folder / NAME)
    except DataError:  # none yet, or cut short by the crash of a machine: files are checked anew
        return {}
    return {k: facts for k, facts in record.items() if isinstance(facts, dict)} if isinstance(record, dict) else {}


def note(folder: Path, remote: RemoteFile, facts: dict[str, Any], unpacked: Sequence[str] | None = None) -> None:
    """Remember that a file was fetched, and, once it is, what was unpacked of it (names below `folder`)."""
    done = {"url": remote.url, **facts, **({} if unpacked is None else {"unpacked": list(unpacked)})}
    write_json(folder / NAME, {**read_record(folder), remote.to: done})


def is_done(folder: Path, remote: RemoteFile) -> bool:
    """Was this file fetched (and unpacked), and is what came of it still there?"""
    facts = read_record(folder).get(remote.to)
    if not isinstance(facts, dict) or facts.get("url") != remote.url:
        return False
    if remote.unpack:
        names = facts.get("unpacked")
        return isinstance(names, list) and all(isinstance(name, str) and (folder / name).exists() for name in names)
    target = target_of(folder, remote)
    return target.is_file() and target.stat().st_size == facts.get("bytes")
