"""Child processes in their own process group, so that stopping one stops everything it started.

Killing ``dvc repro`` alone would leave the stage it runs alive. Being killed ourselves leaves nothing alive either.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from polite_flamingo.tracking.owner import Owner, is_dvc

GRACE_SECONDS = 10.0
LOOK_SECONDS = 0.5  # between two looks at whether DVC is there
PROGRESS = re.compile(r"\[\d+:\d\d[^\]]*\]\s*$")  # how the line of a progress bar ends


GUARD = 'read -r line || kill -s KILL -- "-$1"'  # end of file: whoever held the other end of the pipe is gone


class Command(subprocess.Popen[str]):
    """A running command, leader of its own process group; the group is killed when this process dies, even by SIGKILL.

    A small shell in a session of its own waits at a pipe whose other end only this process holds. What a command that
    was killed has left running is killed too.
    """

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        super().__init__(command, start_new_session=True, **options)
        reading, self._lifeline = os.pipe()
        quiet = subprocess.DEVNULL
        self._dismissing = threading.Lock()
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, "sh", str(self.pid)], stdin=reading, stdout=quiet, stderr=quiet, start_new_session=True
        )
        os.close(reading)

    def wait(self, timeout: float | None = None) -> int:
        """Exit status, once the command has ended."""
        code = super().wait(timeout)
        self._dismiss(code)
        return code

    def poll(self) -> int | None:
        """Exit status, None while the command runs."""
        code = super().poll()
        if code is not None:
            self._dismiss(code)
        return code

    def _dismiss(self, code: int) -> None:
        with self._dismissing:
            if self._lifeline >= 0:
                lifeline, self._lifeline = self._lifeline, -1
                if code >= 0:  # not killed: the group is left alone
                    with suppress(BrokenPipeError):
                        os.write(lifeline, b"\n")
                os.close(lifeline)
                self._guard.wait()


def start(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    piped: bool = False,
    log: IO[bytes] | None = None,
    user: str | None = None,
) -> Command:
    """Start `command` as the leader of a new process group, as another `user` if one is named (we are root then).

    Its output goes to this terminal, with `piped` to the result's ``stdout``, with `log` into that file.
    """
    output = subprocess.PIPE if piped else log
    return Command(
        list(command),
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        text=True,
        errors="replace",
    )


def stop(process: Command, grace: float = GRACE_SECONDS) -> None:
    """End the whole group of `process`: SIGTERM, and SIGKILL for what is left after `grace` seconds."""
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)
    _signal_group(process, signal.SIGKILL)  # the leader may be gone while its children are not
    process.wait()


def stream(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    limit: float | None = None,
    running: set[Command] | None = None,
) -> Iterator[str]:
    """Run `command`, yield its lines as they come; leaving the loop early, or any exception, stops its group.

    Args:
        command: What to run.
        cwd: Where.
        env: Its whole environment; None: this process's.
        limit: Seconds after which its group is stopped; None: never.
        running: Holds the command while it runs, for another thread that may want to stop it.

    Raises:
        subprocess.CalledProcessError: the command ended with an error.
        TimeoutError: it took longer than `limit`.
    """
    process = start(command, cwd=cwd, env=env, piped=True)
    late = threading.Event()

    def end() -> None:
        late.set()
        stop(process)

    timer = None if limit is None else threading.Timer(limit, end)
    finished = False
    try:
        if running is not None:
            running.add(process)
        if timer is not None:
            timer.start()
        assert process.stdout is not None  # piped
        for line in process.stdout:
            if line.strip():
                yield line.rstrip()
        code = process.wait()
        finished = True
    finally:
        if timer is not None:
            timer.cancel()
        if not finished:
            stop(process)
        if running is not None:
            running.discard(process)
    if late.is_set():
        raise TimeoutError(f"stopped after {limit:g} s")
    if code:
        raise subprocess.CalledProcessError(code, list(command))


def paced(lines: Iterable[str], seconds: float, *, clock: Callable[[], float] = time.monotonic) -> Iterator[str]:
    """All lines but those of progress bars, of which one every `seconds` is left, and the last before another line."""
    written, skipped = -seconds, ""
    for line in lines:
        if PROGRESS.search(line) is None:
            yield from filter(None, [skipped])
            yield line
            skipped = ""
        elif (now := clock()) - written >= seconds:
            written, skipped = now, ""
            yield line
        else:
            skipped = line
    yield from filter(None, [skipped])


def call(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run `command` on this terminal (progress bars stay bars) and return its exit status; Ctrl-C stops its group."""
    process = start(command, cwd=cwd, env=env)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            stop(process)


def end_with_dvc() -> None:
    """Have this process, a stage, end when the DVC that runs it is gone, however that ended; nothing else would do it.

    A stage without DVC would write outputs that nobody takes, beside those of the next run.
    """
    import psutil

    with suppress(psutil.Error, OSError):
        dvc = next((process for process in psutil.Process().parents() if is_dvc(process.cmdline())), None)
        if dvc is not None:
            threading.Thread(target=_end_after, args=(Owner.of(dvc.pid),), name="end-with-dvc", daemon=True).start()


def _end_after(other: Owner) -> None:
    while other.lives():
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


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


def _signal_group(process: Command, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
