"""Versions of MLflow's registry on this machine: each is downloaded once, and a few of each model are kept."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.errors import BusyError
from polite_flamingo.io.files import publishing
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.locks import locked

if TYPE_CHECKING:
    from polite_flamingo.tracking.registry import ModelRegistry, ModelVersion

VERSIONS = Path(".work", "versions")
KEPT = 3  # versions of a model
RECENT = 3600.0  # seconds since its last use within which a version is kept in any case: it may be loading
PATIENCE = 900.0  # seconds that another process may take to download one
LOOK = 0.2  # seconds


def downloaded(registry: ModelRegistry, version: ModelVersion) -> Path:
    """Folder of a version; processes that ask for the same model take turns.

    Args:
        registry: Where it is.
        version: The version.

    Raises:
        ModelError: it cannot be had.
        BusyError: another process downloads for longer than `PATIENCE`.
    """
    own = VERSIONS / version.name
    folder = own / f"{version.number}-{fingerprint(version.name, version.created)[:8]}"
    with _turn(own):
        if not folder.is_dir():
            with publishing(folder) as staging:
                for part in ("MLmodel", "artifacts"):
                    registry.file(version, part, staging)
        os.utime(folder)
        _tidy(own)
    return folder


@contextmanager
def _turn(own: Path) -> Iterator[None]:
    until = time.monotonic() + PATIENCE
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(own / ".lock", where=own))
                break
            except BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(LOOK)
        yield


def _tidy(own: Path) -> None:
    """Remove what killed downloads left, and the versions that were not used for longest."""
    folders = [path for path in own.iterdir() if path.is_dir()]
    used = {path: path.stat().st_mtime for path in folders if not path.name.startswith(".")}
    oldest = sorted(used, key=lambda path: used[path], reverse=True)[KEPT:]
    unused = [path for path in oldest if used[path] < time.time() - RECENT]
    for path in (*unused, *(path for path in folders if path.name.startswith("."))):
        shutil.rmtree(path, ignore_errors=True)
