"""Locks between processes, which say who holds them."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from polite_flamingo.errors import BusyError


@contextmanager
def locked(path: Path, *, where: object = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; a second process gets a `BusyError` at once. A killed holder frees it.

    The file says who holds it, and goes away with the lock; that of a killed holder stays, and is taken by the next.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "ab+", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read(1000).decode(errors="replace").strip() or None
                raise BusyError(
                    "another process is writing this output", value=holder,
                    where=where or path, next_step="wait for it or end it",
                ) from None  # fmt: skip
            if not _is_file_of(path, file):
                continue  # the holder before has removed it meanwhile
            with suppress(OSError):  # on a full disk it is held without a name
                file.truncate(0)
                file.write(f"{_this_process()}\n".encode(errors="replace"))
            try:
                yield
            finally:
                if _is_file_of(path, file):
                    path.unlink()
            return


def _this_process() -> str:
    """Number, machine, command and time of this process, as a message names it."""
    program = Path(sys.argv[0])
    words = [program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()}, `{' '.join(words)[:300]}`, since {since}"


def _is_file_of(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
