"""A PostgreSQL of our own: programs found, data folder made, a server in the foreground, roles and databases."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, StorageError
from polite_flamingo.io.files import publishing
from polite_flamingo.launch.processes import Command, start, stop
from polite_flamingo.launch.team.folder import ADMIN, DATABASES, HOST, TeamFolder

DEBIAN = Path("/usr/lib/postgresql")
ACCOUNT = "postgres"  # runs the server where we are root, which PostgreSQL refuses
READY_SECONDS = 60.0
INSTALL = "install PostgreSQL (Debian and Ubuntu: apt-get install postgresql)"


class Postgres:
    """The PostgreSQL of a team's folder.

    Args:
        folder: The team's folder.
        port: Port on localhost; it listens nowhere else, not even on a socket.
    """

    def __init__(self, folder: TeamFolder, port: int) -> None:
        self._folder = folder
        self.port = port
        version = folder.cluster / "PG_VERSION"
        self.programs = programs(version.read_text().strip() if version.exists() else None)

    def initialise(self) -> None:
        """Make the data folder where there is none; killed in the middle, the next try begins anew.

        Raises:
            ConfigError: the account of the server cannot enter the folder.
        """
        cluster = self._folder.cluster
        if cluster.exists():
            return
        with publishing(cluster) as staging, tempfile.NamedTemporaryFile("w") as word:
            word.write(self._folder.password(ADMIN))
            word.flush()
            if account() is not None:
                for path in (staging, Path(word.name)):
                    shutil.chown(path, ACCOUNT, ACCOUNT)
            self._check_entry(staging)
            command = [self.programs / "initdb", "--pgdata", staging.resolve(), "--username", ADMIN, "--pwfile"]
            command += [word.name, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"]
            run([*map(str, command), "--data-checksums", "--no-instructions"], user=account())

    def command(self) -> list[str]:
        """The server, in the foreground."""
        settings = {"listen_addresses": HOST, "port": self.port, "unix_socket_directories": "", "max_connections": 200}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self._folder.cluster.resolve()), *words]

    def ready(self) -> bool:
        """Whether the server answers."""
        asked = [str(self.programs / "pg_isready"), "--quiet", "--host", HOST, "--port", str(self.port)]
        return subprocess.run([*asked, "--timeout", "3"], check=False).returncode == 0

    def wait(self, process: Command | None = None) -> None:
        """Until the server answers; after a crash it first repeats what it has written down.

        Args:
            process: The server, if it is ours.

        Raises:
            StorageError: it has ended, or does not answer within a minute.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready():
            if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
                log = self._folder.log("PostgreSQL")
                raise StorageError("PostgreSQL does not answer", value=self.port, where=log, next_step="read its log")
            time.sleep(0.1)

    @contextmanager
    def running(self) -> Iterator[None]:
        """A server with both databases, for the time of the block."""
        with open(self._folder.log("PostgreSQL"), "ab") as log:
            process = start(self.command(), cwd=Path("/"), log=log, user=account())
            try:
                self.wait(process)
                self.create_databases()
                yield
            finally:
                shut(process)

    def create_databases(self) -> None:
        """Make the roles and databases that are missing; a role sees no database but its own."""
        from psycopg2 import sql
        from psycopg2.extensions import encrypt_password

        with closing(self.connect(ADMIN, "postgres")) as connection:
            connection.autocommit = True  # databases are made outside transactions
            cursor = connection.cursor()
            for name in DATABASES:
                role, word = sql.Identifier(name), self._folder.password(name)
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
                if cursor.fetchone() is None:  # the server never sees the password, nor can its log
                    secret = sql.Literal(encrypt_password(word, name, connection, "scram-sha-256"))
                    cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, secret))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
                cursor.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(role))

    def connect(self, role: str, database: str) -> Any:
        """A connection of psycopg2."""
        psycopg2 = driver()
        passfile = str(self._folder.passfile(role))
        return psycopg2.connect(host=HOST, port=self.port, user=role, dbname=database, passfile=passfile)

    def _check_entry(self, folder: Path) -> None:
        entered = subprocess.run(["test", "-x", str(folder.resolve())], user=account(), group=account(), check=False)
        if entered.returncode != 0:
            raise ConfigError(
                f"the account {ACCOUNT!r}, which runs PostgreSQL when you are root, cannot enter the folder",
                value=str(folder.parent),
                next_step="choose another with --folder, or run this as yourself instead of root",
            )


def programs(version: str | None = None) -> Path:
    """Folder of PostgreSQL's programs: of a major version, or the newest there is.

    Raises:
        ConfigError: there is none.
    """
    found = {folder.parent.name: folder for folder in DEBIAN.glob("*/bin") if (folder / "initdb").exists()}
    on_path = shutil.which("initdb")
    if on_path is not None:
        words = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=True).stdout.split()
        found.setdefault(words[2].partition(".")[0], Path(on_path).resolve().parent)
    if version is None and found:
        return found[max(found, key=int)]
    if version in found:
        return found[str(version)]
    if not found:
        raise ConfigError("PostgreSQL is not installed", where=f"{DEBIAN}, PATH", next_step=INSTALL)
    known = ", ".join(sorted(found))
    raise ConfigError(
        f"the data folder was made by PostgreSQL {version}, and only {known} is installed",
        next_step=f"install postgresql-{version}, or back up with it and restore here",
    )


def driver() -> Any:
    """The module psycopg2.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import psycopg2
    except ImportError:
        raise ConfigError("psycopg2 is not installed", next_step="pip install 'polite-flamingo[postgres]'") from None
    return psycopg2


def account() -> str | None:
    """Account that runs the server: PostgreSQL refuses root.

    Raises:
        ConfigError: we are root and the account does not exist.
    """
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        pwd.getpwnam(ACCOUNT)
        return ACCOUNT
    raise ConfigError("PostgreSQL refuses root, and its account does not exist", value=ACCOUNT, next_step=INSTALL)


def run(command: list[str], *, env: dict[str, str] | None = None, user: str | None = None) -> None:
    """Run one of PostgreSQL's programs to its end.

    Raises:
        StorageError: it failed; with what it said.
    """
    done = subprocess.run(
        command,
        env=env,
        user=user,
        group=user,
        cwd="/",  # the other account may not enter where we are
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise StorageError(f"{Path(command[0]).name} failed", value=done.returncode, where=said)


def shut(process: Command) -> None:
    """End a PostgreSQL server: it closes its connections, writes everything and leaves."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # SIGTERM would wait for every client to leave
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=READY_SECONDS)
    stop(process)
