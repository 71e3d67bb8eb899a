"""A process is known again by more than its number."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from polite_flamingo.environment import PIPELINE_VARIABLE
from polite_flamingo.tracking.owner import Owner, pipeline_run, readable


def test_what_is_written_is_read_back() -> None:
    owner = Owner.of(os.getpid())
    assert Owner.parse(str(owner)) == owner
    assert Owner.parse("tiny-0a1b2c") is None


def test_a_process_lives_until_it_ends_also_as_a_zombie() -> None:
    process = subprocess.Popen(["sleep", "60"])
    owner = Owner.of(process.pid)
    assert owner.lives() is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected
    assert owner.lives() is False
    process.wait()
    assert owner.lives() is False


def test_another_process_of_the_same_number_is_not_it() -> None:
    owner = Owner.of(os.getpid())
    assert replace(owner, started=owner.started + 1).lives() is False


def test_what_runs_elsewhere_cannot_be_seen() -> None:
    owner = Owner.of(os.getpid())
    assert replace(owner, space="1").lives(one_machine=True) is None  # a container beside us
    assert replace(owner, boot="b").lives() is None  # perhaps another machine of the same name
    assert replace(owner, host="other", boot="b").lives(one_machine=True) is None


def test_before_a_restart_of_the_one_machine_there_was_nothing_that_still_lives() -> None:
    assert replace(Owner.of(os.getpid()), boot="b").lives(one_machine=True) is False


def test_a_named_pipeline_says_who_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Owner.of(os.getppid())
    monkeypatch.setenv(PIPELINE_VARIABLE, f"tiny-1@{owner}")
    run = pipeline_run()
    assert (run.name, run.owner) == ("tiny-1", owner)
    assert run.command != ()


def test_a_command_is_shown_as_it_was_typed() -> None:
    assert readable(["/v/bin/python3.11", "/v/bin/dvc", "exp", "run"]) == "dvc exp run"
    assert readable(["/v/bin/python", "-m", "dvc", "repro"]) == "dvc repro"
    assert readable(["/v/bin/polite-flamingo", "run"]) == "polite-flamingo run"
