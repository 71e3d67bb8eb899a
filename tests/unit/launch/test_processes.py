"""Stopping a command stops everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polite_flamingo.launch.processes import call, paced, start, stop, stream

PARENT_OF_A_SLEEPER = ["sh", "-c", "sleep 60 & echo $!; echo second; wait"]


def _gone(pid: int, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:  # an orphan nobody has waited for yet
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_lines_arrive_without_blank_ones() -> None:
    assert list(stream(["sh", "-c", "echo one; echo; echo two >&2"])) == ["one", "two"]


def test_a_failing_command_says_its_status() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        list(stream(["sh", "-c", "echo last words; exit 3"]))
    assert caught.value.returncode == 3


def test_leaving_the_loop_stops_the_grandchildren() -> None:
    lines = stream(PARENT_OF_A_SLEEPER)
    sleeper = int(next(lines))
    lines.close()
    assert _gone(sleeper)


def test_what_takes_too_long_is_stopped_with_its_grandchildren() -> None:
    lines = stream(PARENT_OF_A_SLEEPER, limit=0.5)
    sleeper = int(next(lines))
    with pytest.raises(TimeoutError, match=r"stopped after 0\.5 s"):
        list(lines)
    assert _gone(sleeper)


def test_what_ignores_sigterm_is_killed() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = start([sys.executable, "-c", code], piped=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    stop(process, grace=0.2)
    assert process.returncode == -9
    process.stdout.close()


def test_call_returns_the_status() -> None:
    assert call(["sh", "-c", "exit 4"]) == 4


def test_a_second_sigterm_does_not_cut_short_what_the_first_one_stops() -> None:
    code = """
import time
from pathlib import Path
from polite_flamingo.launch.processes import start, stop, terminated_as_exit
try:
    with terminated_as_exit():
        child = start(["sh", "-c", "trap 'sleep 0.5; exit' TERM; sleep 60 & wait"])
        print(child.pid, flush=True)
        time.sleep(60)
finally:
    stop(child)
"""
    process = start([sys.executable, "-c", code], piped=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.terminate()
    time.sleep(0.2)
    process.terminate()
    assert process.wait(timeout=20) == 143
    assert _gone(child)
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_this_process_however_it_comes_ends_what_it_started(number: signal.Signals) -> None:
    code = "import sys; from polite_flamingo.launch.processes import stream\n"
    code += f"for line in stream({PARENT_OF_A_SLEEPER!r}): print(line, flush=True)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    sleeper = int(process.stdout.readline())
    process.send_signal(number)
    process.communicate()
    assert _gone(sleeper)


def test_what_a_command_that_was_killed_has_left_running_is_killed() -> None:
    process = start(PARENT_OF_A_SLEEPER, piped=True)
    assert process.stdout is not None
    sleeper = int(process.stdout.readline())
    process.kill()
    assert process.wait() == -9
    assert _gone(sleeper)
    process.stdout.close()


def test_a_stage_ends_when_its_dvc_is_killed() -> None:
    stage = "import time; from polite_flamingo.launch.processes import end_with_dvc; end_with_dvc()\n"
    stage += "print('works', flush=True); time.sleep(60)"
    dvc = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[3]])\n"
    dvc += "print(p.pid, flush=True); p.wait()"
    process = start([sys.executable, "-c", dvc, "dvc", "repro", stage], piped=True)
    assert process.stdout is not None
    said = {process.stdout.readline().strip() for _ in range(2)}
    pid = int(next(line for line in said if line.isdecimal()))
    os.kill(process.pid, signal.SIGKILL)
    assert _gone(pid)
    process.wait()
    process.stdout.close()


def test_a_command_that_ended_leaves_nothing_behind() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        assert call(["true"]) == 0
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_of_a_progress_bar_a_line_now_and_then_is_left_and_the_last_before_others() -> None:
    ticks = [f"score:  {n}%|#  | {n}/100 [00:0{n}<00:09, 1.00rec/s, failed=0]" for n in range(8)]
    counted = "coco train: 70rec [00:01, 64.3rec/s]"
    times = iter(range(100))
    left = list(paced([*ticks, "INFO done", counted, "end [sic]"], 3, clock=lambda: next(times)))
    assert left == [ticks[0], ticks[3], ticks[6], ticks[7], "INFO done", counted, "end [sic]"]
