"""What the operating system says about a disk, as an error with a next step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polite_flamingo.errors import PoliteFlamingoError, StorageError, refusal


@contextmanager
def storage_errors(folder: Path, operation: str) -> Iterator[None]:
    """Turn what the operating system says about a disk into a `StorageError` with the next step."""
    try:
        yield
    except PoliteFlamingoError:
        raise
    except OSError as error:
        known = refusal(error, folder)
        raise StorageError(
            f"{known.what if known else 'storage fails'} ({operation})",
            value=os.strerror(error.errno) if error.errno else str(error),
            where=folder,
            next_step=known.next_step if known else "check the disk, then start again; what was finished is intact",
        ) from error
