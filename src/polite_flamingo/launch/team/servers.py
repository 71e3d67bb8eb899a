"""PostgreSQL, MLflow and Prefect side by side: started, watched, started again when one ends, stopped together."""

from __future__ import annotations

import logging
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from polite_flamingo.errors import BusyError, StorageError
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.locks import locked
from polite_flamingo.io.text import write_json
from polite_flamingo.launch import guard
from polite_flamingo.launch.processes import Command, start, stop, terminated_as_exit
from polite_flamingo.launch.team.folder import HOST, TeamFolder, client_environment, exports
from polite_flamingo.launch.team.postgres import Postgres, account, driver, shut

LOG = logging.getLogger(__name__)

START_SECONDS = 180.0  # the first time both servers make their tables
RESTARTS = 5  # of one server within RESTART_WINDOW; then all stop
RESTART_WINDOW = 300.0
PAUSE_SECONDS = 1.0  # before a server is started again; doubled each time within the window
LINES_OF_LOG = 15


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on localhost."""

    postgres: int = 5433  # beside a PostgreSQL of the machine
    mlflow: int = 5000
    prefect: int = 4200

    def check(self) -> None:
        """Say which one is taken.

        Raises:
            BusyError: another process listens on one.
        """
        for name, port in (("postgres", self.postgres), ("mlflow", self.mlflow), ("prefect", self.prefect)):
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    raise BusyError(f"port of {name} is taken", value=port, next_step=f"choose another: --{name}-port")


@dataclass(slots=True)
class Server:
    """One server, which is started again when it ends by itself.

    Args:
        name: What people call it.
        command: How it is started, in the foreground.
        environment: Of its process; None is ours.
        log: File that its output is added to.
        healthy: Whether it does its work.
        end: How it is stopped.
        user: Account it runs as; None is ours.
        folder: Where it runs; None is here.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None
    log: Path
    healthy: Callable[[], bool]
    end: Callable[[Command], None] = stop
    user: str | None = None
    folder: Path | None = None
    process: Command | None = None
    _ends: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Start it; its output goes to the end of its log."""
        with open(self.log, "ab") as log:
            self.process = start(self.command, cwd=self.folder, env=self.environment, log=log, user=self.user)

    def wait(self) -> None:
        """Until it is healthy.

        Raises:
            StorageError: it has ended, or is not healthy after three minutes.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise StorageError(
                    f"{self.name} does not start",
                    where=_tail(self.log),
                    next_step="read the log; where it asks for an upgraded database: polite-flamingo team-migrate",
                )
            time.sleep(0.2)

    def keep_up(self) -> None:
        """Start it again if it has ended.

        Raises:
            StorageError: it ends again and again.
        """
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        self._ends = [moment for moment in self._ends if now - moment < RESTART_WINDOW] + [now]
        if len(self._ends) > RESTARTS:
            what = f"{self.name} ended {len(self._ends)} times within {RESTART_WINDOW:.0f} s"
            raise StorageError(what, where=_tail(self.log), next_step="read the log")
        LOG.warning("%s ended by itself (status %s) and is started again", self.name, self.process.returncode)
        time.sleep(PAUSE_SECONDS * 2 ** (len(self._ends) - 1))
        self.start()

    def stop(self) -> None:
        """Stop it, with everything it has started."""
        if self.process is not None:
            self.end(self.process)
            self.process = None


def serve_team(
    folder: TeamFolder,
    ports: Ports,
    say: Callable[[str], object],
    *,
    worker: bool = False,
    public: Sequence[str] = (),
) -> int:
    """Serve a team until Ctrl-C or SIGTERM; the same folder goes on with the same data.

    Args:
        folder: Where everything lies; made the first time.
        ports: Ports on localhost.
        say: Tells where the servers are, once they are healthy.
        worker: Start a Prefect worker as well, which runs deployments of the pool ``local`` on this machine.
        public: Names by which browsers reach the servers through a proxy, beside those of this machine.

    Returns:
        0 after Ctrl-C.

    Raises:
        BusyError: a port is taken, or the folder is served already.
        StorageError: a server does not start, or does not stay.
    """
    driver()
    folder.prepare()
    with locked(folder.root / "lock", where=folder.root), ExitStack() as running, terminated_as_exit():
        ports.check()
        database = Postgres(folder, ports.postgres)
        database.initialise()
        postgres, *others = servers = [
            _postgres(folder, database),
            _mlflow(folder, ports, public),
            _prefect(folder, ports, public),
            *([_worker(folder, ports)] if worker else []),
        ]
        write_json(folder.root / "ports.json", {"postgres": ports.postgres})
        try:
            _launch(running, [postgres])
            database.create_databases()
            _launch(running, others)
            write_atomic(folder.client_file, exports(client_environment(ports.mlflow, ports.prefect)))
            say(_welcome(folder, ports))
            while True:
                for server in servers:
                    server.keep_up()
                time.sleep(0.5)
        except KeyboardInterrupt:
            return 0


def _launch(running: ExitStack, servers: Sequence[Server]) -> None:
    """Start servers side by side, and have them stopped when `running` is closed."""
    for server in servers:
        running.callback(server.stop)
        server.start()
    for server in servers:
        server.wait()


def _postgres(folder: TeamFolder, database: Postgres) -> Server:
    log = folder.log("PostgreSQL")
    return Server("PostgreSQL", database.command(), None, log, database.ready, shut, account(), Path("/"))


def _mlflow(folder: TeamFolder, ports: Ports, public: Sequence[str]) -> Server:
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(ports.mlflow), "--workers", "2"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder.artifacts.resolve())]
    command += guard.mlflow_hosts(public=public)
    command += ["--uvicorn-opts", "--no-access-log --limit-concurrency 200"]
    environment = folder.environment("mlflow", ports.postgres)
    return Server("MLflow", command, environment, folder.log("MLflow"), answers(f"http://{HOST}:{ports.mlflow}/health"))


def _prefect(folder: TeamFolder, ports: Ports, public: Sequence[str]) -> Server:
    command = [sys.executable, "-m", guard.__name__, "--host", HOST, "--port", str(ports.prefect)]
    command += [word for name in public for word in ("--public", name)]
    environment = folder.environment("prefect", ports.postgres)
    health = answers(f"http://{HOST}:{ports.prefect}/api/ready")
    return Server("Prefect", command, environment, folder.log("Prefect"), health)


def _worker(folder: TeamFolder, ports: Ports) -> Server:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local", "--type", "process"]
    environment = {**folder.environment("prefect", ports.postgres), **client_environment(ports.mlflow, ports.prefect)}
    for secret in ("PGPASSFILE", "PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        del environment[secret]
    return Server("Worker", command, environment, folder.log("Worker"), lambda: True)


def answers(url: str) -> Callable[[], bool]:
    """Whether a page answers with status 200."""

    def asked() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return asked


def _welcome(folder: TeamFolder, ports: Ports) -> str:
    return (
        f"MLflow     http://{HOST}:{ports.mlflow}\n"
        f"Prefect    http://{HOST}:{ports.prefect}\n"
        f"Clients    source {folder.client_file}\n"
        f"Data       {folder.root}\n"
        "Ctrl-C stops all; the same command goes on with the same data."
    )


def _tail(log: Path) -> str:
    """Name of a log and its last lines."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_OF_LOG:]
    return "\n    ".join([str(log), *lines])
