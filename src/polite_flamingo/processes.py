"""Child processes in their own process group, so that stopping one stops everything it started.

Killing ``dvc repro`` alone would leave the stage it runs alive.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

GRACE_SECONDS = 10.0


def start(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    piped: bool = False,
    log: IO[bytes] | None = None,
) -> subprocess.Popen[str]:
    """Start `command` as the leader of a new process group.

    Its output goes to this terminal, with `piped` to the result's ``stdout``, with `log` into that file.
    """
    output = subprocess.PIPE if piped else log
    return subprocess.Popen(
        list(command),
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def stop(process: subprocess.Popen[str], grace: float = GRACE_SECONDS) -> None:
    """End the whole group of `process`: SIGTERM, and SIGKILL for what is left after `grace` seconds."""
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)
    _signal_group(process, signal.SIGKILL)  # the leader may be gone while its children are not
    process.wait()


def stream(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run `command`, yield its lines as they come; leaving the loop early, or any exception, stops its group.

    Raises:
        subprocess.CalledProcessError: the command ended with an error.
    """
    process = start(command, cwd=cwd, env=env, piped=True)
    finished = False
    try:
        assert process.stdout is not None  # piped
        for line in process.stdout:
            if line.strip():
                yield line.rstrip()
        code = process.wait()
        finished = True
    finally:
        if not finished:
            stop(process)
    if code:
        raise subprocess.CalledProcessError(code, list(command))


def call(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run `command` on this terminal (progress bars stay bars) and return its exit status; Ctrl-C stops its group."""
    process = start(command, cwd=cwd, env=env)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            stop(process)


@contextmanager
def terminated_as_exit() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit` inside the block, so that ``finally`` clauses run.

    A second SIGTERM (``timeout`` sends two) is ignored from then on: it would cut short what those clauses stop.
    """

    def leave(number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is leave:
            signal.signal(signal.SIGTERM, before)


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
