"""Running another profile leaves params.yaml as it was; the two web interfaces start and stop together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polite_flamingo import launch
from polite_flamingo.environment import PIPELINE_VARIABLE
from polite_flamingo.errors import BusyError, ConfigError
from polite_flamingo.launch import pipeline_environment, repro_commands, serve_commands, use_profile
from polite_flamingo.params import DATA_ROOT_VARIABLE, load_params

PROJECT = Path(__file__).resolve().parents[3]
TEXT = "# comment\nprofile: tiny          # tiny | smol\nseed: 42\n"


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    return path


def test_the_profile_changes_inside_the_block_only(params_file: Path) -> None:
    with use_profile("smol", params_file):
        assert params_file.read_text() == TEXT.replace("profile: tiny", "profile: smol")
    assert params_file.read_text() == TEXT


def test_an_interrupted_run_puts_the_profile_back(params_file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), use_profile("smol", params_file):
        raise KeyboardInterrupt
    assert params_file.read_text() == TEXT


def test_edits_made_during_the_run_stay(params_file: Path) -> None:
    with use_profile("smol", params_file):
        params_file.write_text(params_file.read_text().replace("seed: 42", "seed: 7"))
    assert params_file.read_text() == TEXT.replace("seed: 42", "seed: 7")


def test_two_runs_do_not_share_the_file(params_file: Path) -> None:
    with use_profile("smol", params_file), pytest.raises(BusyError), use_profile("tiny", params_file):
        pass


def test_a_file_without_a_profile_is_refused(params_file: Path) -> None:
    params_file.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="no profile is named"), use_profile("smol", params_file):
        pass


def test_the_embedded_world_is_not_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    params = load_params(PROJECT / "params.yaml", "tiny")
    assert [command[3:] for command in repro_commands(params, ["filter"])] == [["repro", "filter@tiny"]]


def test_a_real_data_root_is_read_again_first() -> None:
    params = load_params(PROJECT / "params.yaml", "smol")
    assert [command[4:] for command in repro_commands(params, ["check_pf1m"])] == [
        ["--force", "--single-item", "download@smol"],
        ["check_pf1m@smol"],
    ]


def test_a_pipelines_processes_share_its_name_tools_and_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PIPELINE_VARIABLE, raising=False)
    environment = pipeline_environment("smol", data_root=str(tmp_path))
    assert environment[PIPELINE_VARIABLE].startswith("smol-")
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert environment[DATA_ROOT_VARIABLE] == str(tmp_path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port_is_named_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=str(port)):
            serve_commands({"MLflow": (port, ["false"])}, [])


SILENT_SERVER = (
    "import sys; from http.server import BaseHTTPRequestHandler, HTTPServer;"
    "HTTPServer(('127.0.0.1', int(sys.argv[1])), BaseHTTPRequestHandler).serve_forever()"
)


def test_ctrl_c_stops_both_servers() -> None:
    ports = [_free_port(), _free_port()]
    code = (
        "import signal, sys; from polite_flamingo.launch import serve_commands;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored in what a shell runs in the background
        f"server = lambda port: (port, [sys.executable, '-c', {SILENT_SERVER!r}, str(port)]);"
        f"servers = {{'MLflow': server({ports[0]}), 'Prefect': server({ports[1]})}};"
        "sys.exit(serve_commands(servers, ['Data Docs  here']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": "src"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    shown = [next(process.stdout) for _ in range(4)]
    assert shown[0].split() == ["MLflow", f"http://127.0.0.1:{ports[0]}"]
    assert shown[1].split() == ["Prefect", f"http://127.0.0.1:{ports[1]}"]
    assert shown[2] == "Data Docs  here\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    time.sleep(0.1)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_end_of_one_server_ends_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    port = _free_port()
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    assert serve_commands({"MLflow": (port, server), "Prefect": (_free_port(), ["false"])}, []) == 1
    assert "Prefect ended by itself" in capfd.readouterr().err


def test_a_distributed_stage_starts_its_processes_with_the_profile_and_the_device(monkeypatch) -> None:
    started = []
    monkeypatch.setattr(launch, "call", lambda command, env: started.append((command, env)) or 3)
    runtime = load_params(profile="tiny").runtime.model_copy(update={"processes": 2, "device": "cpu"})
    params = load_params(profile="tiny").model_copy(update={"runtime": runtime})
    assert launch.run_distributed("tune_stage1", params) == 3
    command, environment = started[0]
    words = " ".join(command)
    assert "torch.distributed.run --standalone --nproc-per-node 2 -m polite_flamingo tune_stage1" in words
    assert "--profile tiny" in words
    assert words.endswith("--device cpu")
    assert environment["DS_ACCELERATOR"] == "cpu"
