"""Files and folders that take their place whole or not at all; what is damaged is set aside."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polite_flamingo.io.locks import locked

LOG = logging.getLogger(__name__)

DAMAGED = ".damaged"  # end of the name of a file that was set aside
_OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary file's path beside `path` that takes its place when the block ends well.

    A reader sees the old or the new content, never half of it; what an exception leaves behind is removed. Threads and
    processes may write the same file at the same time.

    Args:
        path: The file.
        durable: Fsync it, so that it survives a power cut; without, for many small files that can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with _naming(path, tmp):
            yield tmp
            if durable:
                with open(tmp, "rb") as file:
                    os.fsync(file.fileno())
            os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as tmp:
        tmp.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place when the block ends well.

    So `folder` is as it was before or complete, or (killed between two renames) absent, but never half there; what a
    killed run left of an earlier attempt is removed first. On return it survives a power cut, if its files do.

    Raises:
        BusyError: another process publishes the same folder.
    """
    with locked(folder.with_name(f".{folder.name}.lock"), where=folder):
        yield from _publishing(folder)


def _publishing(folder: Path) -> Iterator[Path]:
    staging, old = (folder.with_name(f".{folder.name}.{state}") for state in ("publishing", "old"))
    for left in (staging, old):
        shutil.rmtree(left, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with _naming(folder, staging):
            yield staging
            if folder.is_dir():
                os.replace(folder, old)
            sync_folder(staging)
            os.replace(staging, folder)
            sync_folder(folder.parent)
    finally:
        if old.is_dir() and not folder.exists():
            os.replace(old, folder)
        for left in (staging, old):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _naming(path: Path, tmp: Path) -> Iterator[None]:
    """Have an error of a write, which knows no name or that of the temporary file, say what was written."""
    try:
        yield
    except OSError as error:
        if str(error.filename) == str(tmp) or (error.filename is None and error.errno in _OF_DISKS):
            error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def set_aside(path: Path, reason: str, folder: Path | None = None) -> None:
    """Keep a damaged file or folder as ``<name>.damaged``, for a person to look at, and say why; it is to be made anew.

    Args:
        path: What is damaged.
        reason: What is wrong with it.
        folder: Where it is kept, under its whole path in one name; None: beside where it was.
    """
    kept = path.with_name(path.name + DAMAGED)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / ("-".join(path.relative_to(path.anchor).parts) + DAMAGED)
    LOG.warning("%s is set aside as %s and made again: %s", path, kept, reason)
    if kept.is_dir():
        shutil.rmtree(kept)  # of an earlier time
    shutil.move(path, kept)
