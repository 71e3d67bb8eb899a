"""Whoever runs a project's pipeline is named to the next one, and ended on request."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.pipeline.pretence import PROJECT

from polite_flamingo.errors import BusyError
from polite_flamingo.launch.project import project_of

DVC = ["sh", "-c", "sleep 60; :", "/bin/dvc", "repro", "filter"]  # does not become the sleep
STAGE = ["sleep", "61"]
HOLDER = """
import sys, time
from pathlib import Path
from polite_flamingo.io.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a project, of ümlaut"
    (root / "configs" / "profiles").mkdir(parents=True)
    (root / "src" / "polite_flamingo").mkdir(parents=True)
    (root / ".dvc" / "tmp").mkdir(parents=True)
    (root / "params.yaml").write_text("profile: tiny\n")
    for name in ("dvc.yaml", "configs/profiles/tiny.yaml"):
        shutil.copyfile(PROJECT / name, root / name)
    return root


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(command: list[str], **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_dvc_by_hand_and_a_stage_whose_dvc_was_killed_are_named_and_ended(root: Path, start: Start) -> None:
    elsewhere = start([*DVC, "--temp"])  # an experiment in a folder of its own
    dvc = start(DVC)
    stage = start(STAGE, DVC_STAGE="filter@tiny")
    for process, named in ((dvc, "dvc repro filter"), (stage, "sleep 61")):
        with pytest.raises(BusyError) as refused, project_of("tiny", root):
            pass
        assert f"process {process.pid}, `" in refused.value.value
        assert named in refused.value.value
        assert "--profile tiny --end-other" in (refused.value.next_step or "")
        if process is dvc:
            process.kill()
            process.wait()
    dvc = start(DVC)
    with project_of("tiny", root, end_other=True):
        assert [process.poll() is None for process in (dvc, stage, elsewhere)] == [False, False, True]


def test_a_run_that_holds_the_profile_is_named_and_ended(root: Path, start: Start) -> None:
    lock = root / ".work" / "projects" / "tiny.lock"
    other = start([sys.executable, "-c", HOLDER, str(lock)], PYTHONPATH=str(PROJECT / "src"))
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"another run of this profile is going on\n.*process {other.pid} on "):
        project_of("tiny", root).__enter__()
    with project_of("tiny", root, end_other=True):
        assert other.poll() is not None


def test_dvcs_locks_of_processes_that_are_gone_are_removed_though_their_numbers_live(root: Path, start: Start) -> None:
    locks = root / ".dvc" / "tmp" / "rwlock"
    held = '{"write": {"data": {"pid": %d, "cmd": "dvc repro"}}, "read": {"src": [{"pid": 1, "cmd": "dvc repro"}]}}'
    locks.write_text(held % os.getpid())  # which is no DVC
    with project_of("tiny", root):
        assert not locks.exists()
    pushing = start([*DVC[:4], "push"])
    locks.write_text(held % pushing.pid)
    with project_of("tiny", root):
        assert locks.exists()
