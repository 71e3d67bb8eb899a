"""What the operating system says about a disk, as an error with a next step."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polite_flamingo.errors import PoliteFlamingoError, StorageError

_FULL = ("the disk is full", "free space, then start again")
_READ_ONLY = ("the folder cannot be written", "make it writable, then start again")
_STORAGE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: ("the quota of the disk is used up", "free space, then start again"),
    errno.EFBIG: ("the file would grow above the limit", "raise the limit (ulimit -f), then start again"),
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
}


@contextmanager
def storage_errors(folder: Path, operation: str) -> Iterator[None]:
    """Turn what the operating system says about a disk into a `StorageError` with the next step."""
    try:
        yield
    except PoliteFlamingoError:
        raise
    except OSError as error:
        kind, step = _STORAGE.get(error.errno or 0, ("storage fails", "check the disk, then start again"))
        raise StorageError(
            f"{kind} ({operation})",
            value=os.strerror(error.errno) if error.errno else str(error),
            where=folder,
            next_step=f"{step}; what was finished before is intact and is not computed again",
        ) from error
