"""The two web interfaces start and stop together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from polite_flamingo.errors import BusyError
from polite_flamingo.launch.interfaces import serve_commands

PROJECT = Path(__file__).resolve().parents[3]


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
        "import signal, sys; from polite_flamingo.launch.interfaces import serve_commands;"
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
    lines = [next(process.stdout) for _ in range(4)]
    assert lines[0].split() == ["MLflow", f"http://127.0.0.1:{ports[0]}"]
    assert lines[1].split() == ["Prefect", f"http://127.0.0.1:{ports[1]}"]
    assert lines[2] == "Data Docs  here\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    process.stdout.close()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_end_of_one_server_ends_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    port = _free_port()
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    assert serve_commands({"MLflow": (port, server), "Prefect": (_free_port(), ["false"])}, []) == 1
    assert "Prefect ended by itself" in capfd.readouterr().err
