"""The folder of a team's servers: databases, artifacts, passwords, logs, and what a client needs to know."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polite_flamingo.io.files import replacing

HOST = "127.0.0.1"
ADMIN = "postgres"
DATABASES = ("mlflow", "prefect")  # each with a role of its name that owns it
FOREIGN = ("PG", "MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "MLFLOW_BACKEND_", "PREFECT_API_", "PREFECT_SERVER_DATABASE_")

# A server that is away for minutes costs a run time, not its recording: what is waited for between tries.
CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "8",  # 0, 4, 8, ... 120 seconds: about six minutes
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "2",
    "PREFECT_CLIENT_MAX_RETRIES": "8",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
}

# Prefect 3 drops the states of tasks after six failed tries, and with its batches of one event the tries follow each
# other at once: a restart of the database would lose them. Large batches are tried every five seconds.
PREFECT_SERVER = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "5",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_MAX_FLUSH_RETRIES": "60",
}


@dataclass(frozen=True, slots=True)
class TeamFolder:
    """Where a team's servers keep everything.

    Args:
        root: The folder.
    """

    root: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data."""
        return self.root / "postgres"

    @property
    def artifacts(self) -> Path:
        """What runs have attached; MLflow's server hands it out."""
        return self.root / "artifacts"

    @property
    def backups(self) -> Path:
        """Where a migration leaves the backup made before it."""
        return self.root / "backups"

    @property
    def client_file(self) -> Path:
        """Environment of a client, for a shell's ``source``."""
        return self.root / "client.env"

    def log(self, name: str) -> Path:
        """Log of one server."""
        return self.root / "logs" / f"{name.lower()}.log"

    def passfile(self, role: str) -> Path:
        """PostgreSQL's password file of a role, readable by its owner alone."""
        return self.root / "secrets" / f"{role}.pgpass"

    def password(self, role: str) -> str:
        """The password of a role, made when it is first asked for."""
        file = self.passfile(role)
        if not file.exists():
            write_secret(file, f"{HOST}:*:*:{role}:{secrets.token_urlsafe(24)}\n")
        return file.read_text(encoding="ascii").strip().rpartition(":")[2]

    def prepare(self) -> None:
        """Make the folders that are not there yet; nobody else may look into that of the passwords."""
        for folder in (self.root, self.artifacts, self.log("any").parent):
            folder.mkdir(parents=True, exist_ok=True)
        self.passfile(ADMIN).parent.mkdir(mode=0o700, exist_ok=True)

    def database_url(self, role: str, port: int, driver: str = "psycopg2") -> str:
        """Address of a role's database; the password comes from its password file."""
        return f"postgresql+{driver}://{role}@{HOST}:{port}/{role}"

    def environment(self, role: str, port: int) -> dict[str, str]:
        """Environment of a program that works on a role's database."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        kept["PGPASSFILE"] = str(self.passfile(role).resolve())
        if role == "mlflow":
            return {
                **kept,
                "MLFLOW_BACKEND_STORE_URI": self.database_url(role, port),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges and traces of chat services: not ours
            }
        return {
            **PREFECT_SERVER,
            **kept,
            "PREFECT_HOME": str((self.root / "prefect").resolve()),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database_url(role, port, "asyncpg"),
        }


def client_environment(mlflow_port: int, prefect_port: int) -> dict[str, str]:
    """What a client of the servers has in its environment."""
    return {
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{mlflow_port}",
        "PREFECT_API_URL": f"http://{HOST}:{prefect_port}/api",
        **CLIENT,
    }


def exports(environment: Mapping[str, str]) -> str:
    """An environment as a file for a shell's ``source``."""
    return "".join(f"export {name}={value}\n" for name, value in environment.items())


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at no instant anybody else."""
    with replacing(path) as tmp, open(os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
