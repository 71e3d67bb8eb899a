"""What a run of the pipeline asks of DVC, and the environment its processes get."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from polite_flamingo.environment import PIPELINE_VARIABLE, TRACKING_VARIABLE
from polite_flamingo.errors import ConfigError
from polite_flamingo.launch.pipeline_run import existing_folder, pipeline_environment, repro_commands
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import DATA_ROOT_VARIABLE

PROJECT = Path(__file__).resolve().parents[3]


def test_the_embedded_world_is_not_listed_again() -> None:
    params = load_params(PROJECT / "params.yaml", "tiny")
    assert [command[3:] for command in repro_commands(params, ["filter"])] == [["repro", "filter@tiny"]]


def test_a_real_data_root_is_read_again_first() -> None:
    params = load_params(PROJECT / "params.yaml", "laptop")
    assert [command[4:] for command in repro_commands(params, ["check_pf1m"])] == [
        ["--force", "--single-item", "download@laptop"],
        ["check_pf1m@laptop"],
    ]


def test_a_pipelines_processes_share_its_name_tools_data_root_and_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (PIPELINE_VARIABLE, TRACKING_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    environment = pipeline_environment("laptop", root=tmp_path, data_root=str(tmp_path))
    assert environment[PIPELINE_VARIABLE].startswith("laptop-")
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert environment[DATA_ROOT_VARIABLE] == str(tmp_path)
    assert environment[TRACKING_VARIABLE] == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_data_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data root is no folder"):
        existing_folder(str(tmp_path / "absent"))
