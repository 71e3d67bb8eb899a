"""Starting things that outlive a function: the pipeline with another profile, the two web interfaces."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from polite_flamingo.environment import DEVICE_VARIABLE, PIPELINE_VARIABLE
from polite_flamingo.errors import BusyError, ConfigError
from polite_flamingo.io import locked, write_atomic
from polite_flamingo.params import DATA_ROOT_VARIABLE, Params
from polite_flamingo.processes import call, start, stop, terminated_as_exit

PARAMS_FILE = Path("params.yaml")
_PROFILE_LINE = re.compile(r"^profile:[ \t]*(\S+)", re.MULTILINE)


def run_pipeline(
    params: Params, *, until: str | None = None, data_root: str | None = None, device: str | None = None
) -> int:
    """Run the pipeline of a profile with DVC on this terminal.

    params.yaml names the profile for the time of the run and is put back afterwards. The files below a real data root
    may have changed without DVC seeing it, so that `download` lists them again.

    Args:
        params: The profile's parameters.
        until: Last stage; None runs all.
        data_root: Where the real files lie, instead of the profile's ``data_root``.
        device: Instead of the profile's ``runtime.device``.

    Returns:
        Exit status of DVC.
    """
    environment = pipeline_environment(params.profile, data_root=data_root, device=device)
    with use_profile(params.profile), terminated_as_exit():
        for command in repro_commands(params, [until] if until else []):
            code = call(command, env=environment)
            if code:
                return code
    return 0


def run_distributed(stage: str, params: Params, *, params_file: Path = PARAMS_FILE, device: str | None = None) -> int:
    """Run a training stage in ``runtime.processes`` processes of this machine; the first one writes.

    Several machines: start the same verb on each with ``torchrun`` or ``accelerate launch`` instead.

    Returns:
        Exit status, not 0 when one of the processes failed (the others are stopped).
    """
    chosen = device or params.runtime.device
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(params.runtime.processes), "-m", "polite_flamingo", stage]
    command += ["--profile", params.profile, "--params", str(params_file), "--device", chosen]
    environment = dict(os.environ)
    if chosen == "cpu":
        environment.setdefault("DS_ACCELERATOR", "cpu")
    with terminated_as_exit():
        return call(command, env=environment)


def repro_commands(params: Params, stages: Sequence[str]) -> list[list[str]]:
    """The DVC commands that bring `stages` (none: everything) up to date."""
    repro = [sys.executable, "-m", "dvc", "repro"]
    commands = []
    if params.world is None:
        commands.append([*repro, "--force", "--single-item", f"download@{params.profile}"])
    commands.append([*repro, *(f"{stage}@{params.profile}" for stage in stages)])
    return commands


def pipeline_environment(profile: str, *, data_root: str | None = None, device: str | None = None) -> dict[str, str]:
    """Environment of a pipeline's processes: this interpreter's tools first, one name for the whole run."""
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    environment.setdefault(PIPELINE_VARIABLE, f"{profile}-{uuid.uuid4().hex[:12]}")
    if data_root is not None:
        environment[DATA_ROOT_VARIABLE] = existing_folder(data_root)
    if device is not None:
        environment[DEVICE_VARIABLE] = device
    return environment


def existing_folder(path: str) -> str:
    """Absolute form of a data root that must be there.

    Raises:
        ConfigError: it is no folder.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ConfigError("data root is no folder", value=path, next_step="give the folder that holds the datasets")
    return str(folder.resolve())


@contextmanager
def use_profile(name: str, path: Path = PARAMS_FILE) -> Iterator[None]:
    """Let params.yaml name `name` inside the block; every other edit made meanwhile stays.

    DVC takes the profile from there and nowhere else. Only one run at a time may do this.

    Raises:
        ConfigError: the file has no line ``profile: …``.
        BusyError: another run holds the file.
    """
    with locked(path.parent / ".work" / "params.lock", where=path):
        before = _swap(path, name)
        try:
            yield
        finally:
            _swap(path, before)


def serve_interfaces(docs: Path, *, mlflow_port: int = 5000, prefect_port: int = 4200) -> int:
    """Start the MLflow UI and a Prefect server on 127.0.0.1, say where they are, and stop both on Ctrl-C.

    Args:
        docs: Start page of the Data Docs, named beside the two addresses.
        mlflow_port: Port of the MLflow UI.
        prefect_port: Port of the Prefect server.

    Returns:
        0 after Ctrl-C, 1 when a server ended by itself.
    """
    store = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    mlflow = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        store,
        "--host",
        "127.0.0.1",
        "--workers",
        "1",
    ]
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    from polite_flamingo.tracking.mlflow import runs_page

    return serve_commands(
        {
            "MLflow": (mlflow_port, [*mlflow, "--port", str(mlflow_port)]),
            "Prefect": (prefect_port, [*prefect, "--port", str(prefect_port)]),
        },
        [
            f"{'Runs':<10} http://127.0.0.1:{mlflow_port}{runs_page()}",
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
            print(*notes, "Ctrl-C stops both.", sep="\n", flush=True)
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


def _swap(path: Path, name: str) -> str:
    text = path.read_text(encoding="utf-8")
    found = _PROFILE_LINE.search(text)
    if found is None:
        raise ConfigError("no profile is named", where=path, next_step="add a line `profile: tiny`")
    before = found.group(1)
    if before != name:
        write_atomic(path, text[: found.start(1)] + name + text[found.end(1) :])
    return before
