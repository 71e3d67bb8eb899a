"""Who runs a project's pipeline now, and ending it.

A run holds a lock of its profile, whose file says which process it is. `dvc repro` typed by hand holds none of ours,
and a stage may outlive a DVC that was killed: these are found among the processes of this machine, by the folder they
work in.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.environment import BY_DVC
from polite_flamingo.errors import BusyError
from polite_flamingo.launch.processes import GRACE_SECONDS
from polite_flamingo.tracking.owner import is_dvc, readable

if TYPE_CHECKING:
    import psutil

_NAMED = re.compile(r"process (\d+) on (\S+), ")  # how the file of a lock begins


def at_work(folder: Path) -> list[psutil.Process]:
    """The processes that run the pipeline in a folder: DVC, and the stages it started; the first to start comes first.

    Args:
        folder: Where DVC runs.
    """
    import psutil

    own = psutil.Process()
    others = (process for process in psutil.process_iter() if process not in (own, *own.parents()))
    found = [process for process in others if _works_in(process, folder.resolve())]
    return sorted(found, key=lambda process: process.create_time())


def describe(processes: Iterable[psutil.Process]) -> list[str]:
    """Number, command and start of each, for a message."""
    return [f"process {process.pid}, `{_command(process)[:300]}`, since {_since(process)}" for process in processes]


def holder_of(lock: Path) -> psutil.Process | None:
    """The process that holds a lock, by what the lock's file says; None where that is none of this machine."""
    import psutil

    with suppress(OSError, psutil.Error):
        named = _NAMED.match(lock.read_text(encoding="utf-8", errors="replace"))
        if named is not None and named[2] == socket.gethostname():
            process = psutil.Process(int(named[1]))
            if process.create_time() <= lock.stat().st_mtime + 1:  # else the number is another's by now
                return process
    return None


def runs_dvc(pid: int) -> bool:
    """Whether the process of a number is any command of DVC."""
    import psutil

    try:
        return any(Path(word).name == "dvc" for word in psutil.Process(pid).cmdline())
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError, TypeError):
        return False


def end(processes: Iterable[psutil.Process], grace: float = GRACE_SECONDS) -> None:
    """End processes and all they started: SIGTERM, and SIGKILL for what is left after `grace` seconds and a little.

    Raises:
        BusyError: one of them is not ours to end.
    """
    import psutil

    roots = list(processes)
    family = {process: None for root in roots for process in (root, *_children(root))}
    for process in family:
        with suppress(psutil.NoSuchProcess):
            try:
                process.terminate()
            except psutil.AccessDenied:
                raise BusyError(
                    "another user's process is at work", value=describe([process]), next_step="ask its owner to end it"
                ) from None
    _, left = psutil.wait_procs(family, timeout=grace + 2)  # a run gives what it started that grace
    for process in (*left, *(child for root in left for child in _children(root))):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=grace)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    import psutil

    try:
        if process.cwd() != str(folder):
            return False
        words = process.cmdline()
        apart = {"--queue", "--temp", "--run-all"} & set(words)  # an experiment in a folder of its own
        return (is_dvc(words) and not apart) or BY_DVC in process.environ()
    except (psutil.Error, OSError):  # gone, or another user's
        return False


def _children(process: psutil.Process) -> Iterator[psutil.Process]:
    import psutil

    with suppress(psutil.Error):
        yield from process.children(recursive=True)


def _command(process: psutil.Process) -> str:
    import psutil

    try:
        return readable(process.cmdline()) or process.name()
    except psutil.Error:
        return "?"


def _since(process: psutil.Process) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time()))
