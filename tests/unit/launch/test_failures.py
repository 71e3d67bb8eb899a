"""An error of a process reaches whoever started it."""

from __future__ import annotations

from pathlib import Path

import pytest

from polite_flamingo.cli import main
from polite_flamingo.environment import FAILURE_VARIABLE
from polite_flamingo.errors import QualityError
from polite_flamingo.fetch.transfer import CutOffError
from polite_flamingo.jobs.backends.chat_client import EndpointDownError
from polite_flamingo.launch.failures import PASSING, find_failure, leave_failure


def test_an_error_of_the_command_line_is_left_with_its_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAILURE_VARIABLE, str(tmp_path / "failure.json"))
    assert main(["params", "--profile", "tinny"]) == 2
    failure = find_failure(tmp_path / "failure.json")
    assert failure is not None
    assert failure.kinds == ("ConfigError", "PoliteFlamingoError", "Exception")
    assert "did you mean 'tiny'" in failure.message


def test_a_defect_of_ours_is_left_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAILURE_VARIABLE, str(tmp_path / "failure.json"))
    monkeypatch.setattr("polite_flamingo.params.reading.load_params", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["params"])
    failure = find_failure(tmp_path / "failure.json")
    assert failure is not None
    assert failure.message == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("error", "passing", "of_a_gate"),
    [(QualityError("rows"), False, True), (CutOffError("cut"), True, False), (EndpointDownError("down"), True, False)],
)
def test_only_what_may_pass_is_worth_another_try(
    error: Exception, passing: bool, of_a_gate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAILURE_VARIABLE, str(tmp_path / "failure.json"))
    leave_failure(error)
    failure = find_failure(tmp_path / "failure.json")
    assert failure is not None
    assert (failure.passing, failure.of_a_gate) == (passing, of_a_gate)
    assert {CutOffError.__name__, EndpointDownError.__name__} == PASSING


def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    assert find_failure(tmp_path / "failure.json") is None
