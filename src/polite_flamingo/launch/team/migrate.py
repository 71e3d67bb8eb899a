"""Databases brought to the installed versions, and a project's own runs of MLflow carried to the team's server."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ConfigError, DataError, StorageError
from polite_flamingo.launch.team.backup import back_up, count_rows, database
from polite_flamingo.launch.team.folder import DATABASES, TeamFolder
from polite_flamingo.launch.team.postgres import Postgres
from polite_flamingo.tracking.store import ARTIFACTS, SCHEME

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

LOG = logging.getLogger(__name__)

REVISION = "alembic_version"  # the table of a database's version
ROWS_AT_ONCE = 1000
WORK = ("runs", "registered_models", "trace_info")  # tables that are empty where nobody has recorded anything


def migrate(folder: TeamFolder) -> dict[str, tuple[str | None, str | None]]:
    """Bring both databases to the versions of MLflow and Prefect installed here, after a backup.

    Args:
        folder: The team's folder; its servers must be stopped.

    Returns:
        Database -> its version before and after.

    Raises:
        ConfigError: no team's servers have been here.
        BusyError: the servers run.
        StorageError: an upgrade failed; the backup made before it is named in the log.
    """
    target = folder.backups / time.strftime("%Y-%m-%dT%H%M%S")
    back_up(folder, target, alone=True)
    LOG.info("backup before the migration: %s", target)
    with database(folder, alone=True) as postgres:
        before = {name: _revision(postgres, name) for name in DATABASES}
        _upgrade_mlflow(folder, postgres)
        _program(["prefect", "server", "database", "upgrade", "--yes"], folder.environment("prefect", postgres.port))
        return {name: (before[name], _revision(postgres, name)) for name in DATABASES}


def carry_over(source: Path, folder: TeamFolder) -> dict[str, int]:
    """Copy the runs of a project's ``mlflow.db``, with all that belongs to them, to a team's server that has none.

    Experiments, runs, figures, parameters, tags, data sets, registered models and the files of ``mlartifacts`` beside
    it keep their names and ids. Flow runs of Prefect are not carried; ``prefect deploy --all`` makes its deployments.

    Args:
        source: The project's ``mlflow.db``; it is only read.
        folder: The team's folder; its servers must be stopped.

    Returns:
        Rows of each table that has any.

    Raises:
        ConfigError: `source` is no file, or the server has runs of its own.
        BusyError: the servers run.
    """
    if not source.is_file():
        raise ConfigError("MLflow's database does not exist", value=str(source), next_step="give a project's mlflow.db")
    folder.prepare()
    with tempfile.TemporaryDirectory() as scratch, database(folder, alone=True) as postgres:
        if _revision(postgres, "mlflow") is None:
            _upgrade_mlflow(folder, postgres)
        _check_empty(postgres)
        copy = Path(scratch) / "mlflow.db"
        origin = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
        with closing(origin), closing(sqlite3.connect(copy)) as written:
            origin.backup(written)
        _program(["mlflow", "db", "upgrade", f"sqlite:///{copy}"], {**os.environ})
        counts = _copy_rows(copy, folder, postgres)
        artifacts = source.resolve().parent / ARTIFACTS
        if artifacts.is_dir():
            shutil.copytree(artifacts, folder.artifacts, dirs_exist_ok=True)
    return counts


def _upgrade_mlflow(folder: TeamFolder, postgres: Postgres) -> None:
    environment = folder.environment("mlflow", postgres.port)
    url = folder.database_url("mlflow", postgres.port)
    if _revision(postgres, "mlflow") is None:  # MLflow makes the tables of an empty database when first asked something
        _program(["mlflow", "experiments", "search"], {**environment, "MLFLOW_TRACKING_URI": url})
    else:
        _program(["mlflow", "db", "upgrade", url], environment)


def _check_empty(postgres: Postgres) -> None:
    """Nobody has recorded anything on the team's server."""
    with closing(postgres.connect("mlflow", "mlflow")) as connection:
        counts = count_rows(connection)
    for name in WORK:
        if counts.get(name):
            raise ConfigError(
                "the team's server has runs or models of its own",
                where=name,
                next_step="carry a project's runs over before anybody records, or into another folder",
            )


def _copy_rows(copy: Path, folder: TeamFolder, postgres: Postgres) -> dict[str, int]:
    from sqlalchemy import MetaData, create_engine

    passfile = {"passfile": str(folder.passfile("mlflow"))}
    old = create_engine(f"sqlite:///{copy}")
    new = create_engine(folder.database_url("mlflow", postgres.port), connect_args=passfile)
    source, target = MetaData(), MetaData()
    source.reflect(old)
    target.reflect(new)
    counts = {}
    with old.connect() as read, new.begin() as write:
        _check_same(read, write, source, target)
        for table in reversed(target.sorted_tables):
            if table.name != REVISION:
                write.execute(table.delete())
        for table in target.sorted_tables:
            if table.name in source.tables and table.name != REVISION:
                counts[table.name] = _copy_table(read, write, source.tables[table.name], table)
        _say_fixed_folders(write)
    return {name: count for name, count in counts.items() if count}


def _copy_table(read: Connection, write: Connection, old: Any, new: Any) -> int:
    """Copy a table's rows, and let its counters go on behind them."""
    from sqlalchemy import func, select, text

    count = 0
    names = [column.name for column in new.columns]
    for rows in read.execute(select(old)).mappings().partitions(ROWS_AT_ONCE):
        write.execute(new.insert(), [{name: row[name] for name in names} for row in rows])
        count += len(rows)
    for column in new.primary_key.columns:
        named = {"table": f'"{new.name}"', "column": column.name}
        sequence = write.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), named)
        highest = write.scalar(select(func.max(column))) if sequence else None
        if highest is not None:
            write.execute(text("SELECT setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest})
    return count


def _check_same(read: Connection, write: Connection, source: MetaData, target: MetaData) -> None:
    """Both have the same version."""
    from sqlalchemy import select

    pairs = ((read, source), (write, target))
    revisions = [connection.scalar(select(tables.tables[REVISION])) for connection, tables in pairs]
    if revisions[0] != revisions[1]:
        step = "polite-flamingo team-migrate"
        raise DataError("the team's database is not of the installed MLflow's version", value=revisions, next_step=step)


def _say_fixed_folders(write: Connection) -> None:
    from sqlalchemy import text

    rows: Sequence[Any] = write.execute(
        text("SELECT name, artifact_location FROM experiments WHERE artifact_location NOT LIKE :served"),
        {"served": f"{SCHEME}:%"},
    ).all()
    for name, location in rows:
        LOG.warning("files of experiment %r stay in %s: the server shows its runs, not their files", name, location)


def _revision(postgres: Postgres, name: str) -> str | None:
    with closing(postgres.connect(name, name)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass(%s)", [f"public.{REVISION}"])
        if cursor.fetchone()[0] is None:
            return None
        cursor.execute(f"SELECT version_num FROM {REVISION}")
        row = cursor.fetchone()
        return None if row is None else str(row[0])


def _program(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run MLflow's or Prefect's own command.

    Raises:
        StorageError: it failed; with its last lines.
    """
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise StorageError(f"{' '.join(words[:3])} failed", value=done.returncode, where=said)
