"""The web interfaces of MLflow and Prefect, side by side on this machine."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.errors import BusyError
from polite_flamingo.launch import guard
from polite_flamingo.launch.guard import mlflow_hosts
from polite_flamingo.launch.processes import start, stop, terminated_as_exit
from polite_flamingo.tracking.mlflow import runs_page
from polite_flamingo.tracking.store import artifact_folder, tracking_uri


def serve_interfaces(docs: Path, *, mlflow_port: int, prefect_port: int) -> int:
    """Start the MLflow UI and a Prefect server on 127.0.0.1, say where they are, and stop them on Ctrl-C.

    Where MLFLOW_TRACKING_URI names a server, its page is told instead of a UI started.

    Args:
        docs: Start page of the Data Docs, named beside the two addresses.
        mlflow_port: Port of the MLflow UI.
        prefect_port: Port of the Prefect server.

    Returns:
        0 after Ctrl-C, 1 when a server ended by itself.
    """
    store = tracking_uri()
    files = artifact_folder(store)
    address = re.sub("//[^/@]*@", "//", store).rstrip("/") if files is None else f"http://127.0.0.1:{mlflow_port}"
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store  # not in the command: it may hold a password
    mlflow = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--host",
        "127.0.0.1",
        "--workers",
        "1",
        "--artifacts-destination",
        str(files or ""),
        *mlflow_hosts(),
    ]
    prefect = [sys.executable, "-m", guard.__name__]

    servers = {"MLflow": (mlflow_port, [*mlflow, "--port", str(mlflow_port)])} if files is not None else {}
    return serve_commands(
        {**servers, "Prefect": (prefect_port, [*prefect, "--port", str(prefect_port)])},
        [
            f"{'Runs':<10} {address}{runs_page()}",
            f"Data Docs  {docs.resolve()}{'' if docs.exists() else '  (written by the first quality gate)'}",
        ],
    )


def serve_commands(servers: dict[str, tuple[int, list[str]]], notes: Sequence[str]) -> int:
    """Run servers (name -> port, command) side by side until Ctrl-C, SIGTERM or the end of one of them."""
    for name, (port, _) in servers.items():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise BusyError(
                    f"port of {name} is taken", value=port, next_step=f"choose another: --{name.lower()}-port"
                )
    processes = {}
    try:
        with terminated_as_exit():
            for name, (_, command) in servers.items():
                processes[name] = start(command)
            for name, (port, _) in servers.items():
                while processes[name].poll() is None and not _answers(port):
                    time.sleep(0.2)
            for name, (port, _) in servers.items():
                print(f"{name:<10} http://127.0.0.1:{port}")
            print(*notes, "Ctrl-C stops them.", sep="\n", flush=True)
            while all(process.poll() is None for process in processes.values()):
                time.sleep(0.5)
        ended = next(name for name, process in processes.items() if process.poll() is not None)
        print(f"{ended} ended by itself, with status {processes[ended].returncode}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes.values():
            stop(process)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
