"""Both databases and the artifacts in one folder, and back into an empty place.

A backup holds a moment: its dumps are made of one snapshot each, whose rows the manifest counts, and the artifacts are
copied after them, so that what a dumped run names is there. Servers may go on working meanwhile.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from polite_flamingo.errors import BusyError, ConfigError, DataError
from polite_flamingo.io.files import publishing
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.locks import locked
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.launch.team.folder import DATABASES, HOST, TeamFolder
from polite_flamingo.launch.team.postgres import Postgres, run

LOG = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
ARTIFACTS = "artifacts"


def back_up(folder: TeamFolder, target: Path, *, alone: bool = False) -> dict[str, Any]:
    """Write a backup, whether the servers run or not.

    Args:
        folder: The team's folder.
        target: New folder of the backup.
        alone: Refuse where they run.

    Returns:
        Its manifest: versions, rows of each table, size and SHA-256 of each file.

    Raises:
        ConfigError: there is nothing to back up, or `target` exists.
    """
    _check_there(folder)
    if target.exists():
        raise ConfigError("backup exists already", value=str(target), next_step="name a folder that does not exist")
    with publishing(target) as staging, database(folder, alone=alone) as postgres:
        staging.chmod(0o700)  # flows may keep secrets in Prefect's database
        rows = {name: _dump(folder, postgres, name, staging / f"{name}.dump") for name in DATABASES}
        shutil.copytree(folder.artifacts, staging / ARTIFACTS)
        manifest = {
            "format": FORMAT,
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": {
                **{package: version(package) for package in ("mlflow", "prefect")},
                "postgresql": (folder.cluster / "PG_VERSION").read_text().strip(),
            },
            "rows": rows,
            "files": {
                str(file.relative_to(staging)): {"bytes": file.stat().st_size, "sha256": hash_file(file)}
                for file in sorted(staging.rglob("*"))
                if file.is_file()
            },
        }
        write_json(staging / MANIFEST, manifest)
    return manifest


def restore(backup: Path, folder: TeamFolder) -> dict[str, Any]:
    """Make a team's folder of a backup; its passwords are new.

    Args:
        backup: A folder that `back_up` wrote.
        folder: Where to; must not exist yet, or be empty.

    Returns:
        The backup's manifest.

    Raises:
        DataError: the backup is incomplete or altered, or a table has another number of rows after it.
        ConfigError: `folder` holds something.
    """
    manifest = check(backup)
    if folder.root.exists() and any(folder.root.iterdir()):
        raise ConfigError("folder is not empty", value=str(folder.root), next_step="restore into a new folder")
    with publishing(folder.root) as staging:
        fresh = TeamFolder(staging)
        fresh.prepare()
        postgres = Postgres(fresh, free_port())
        postgres.initialise()
        with postgres.running():
            for name in DATABASES:
                _load(fresh, postgres, name, backup / f"{name}.dump")
                with closing(postgres.connect(name, name)) as connection:
                    found = count_rows(connection)
                if found != manifest["rows"][name]:
                    raise DataError("restored rows differ from the backup's", value=_differing(found, manifest, name))
        shutil.copytree(backup / ARTIFACTS, fresh.artifacts, dirs_exist_ok=True)
    return manifest


def check(backup: Path) -> dict[str, Any]:
    """The manifest of a backup whose files are all there, as they were written.

    Raises:
        DataError: one is missing or altered, or it is no backup of this format.
    """
    if not (backup / MANIFEST).is_file():
        raise DataError("this is no backup", where=backup, next_step="name a folder that team-backup wrote")
    manifest: dict[str, Any] = read_json(backup / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise DataError("backup has an unknown format", value=manifest.get("format"), where=backup / MANIFEST)
    for name, facts in manifest["files"].items():
        file = backup / name
        if not file.is_file() or hash_file(file) != facts["sha256"]:
            state = "altered" if file.is_file() else "missing"
            raise DataError(f"file of the backup is {state}", where=file, next_step="restore another backup")
    return manifest


@contextmanager
def database(folder: TeamFolder, *, alone: bool = False) -> Iterator[Postgres]:
    """The folder's PostgreSQL: that of the running servers, or one started for the time of the block.

    Args:
        folder: The team's folder; a database is made where there is none.
        alone: Refuse to work beside running servers.

    Raises:
        BusyError: the servers run and it is to be `alone`, or something else works on the folder.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder.root / "lock", where=folder.root))
        except BusyError:
            if alone:
                raise BusyError("the team's servers run", where=folder.root, next_step="stop them first") from None
            postgres = Postgres(folder, int(read_json(folder.root / "ports.json")["postgres"]))
            postgres.wait()
        else:
            postgres = Postgres(folder, free_port())
            postgres.initialise()
            held.enter_context(postgres.running())
        yield postgres


def count_rows(connection: Any) -> dict[str, int]:
    """Rows of every table, in the connection's transaction."""
    from psycopg2 import sql

    cursor = connection.cursor()
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    counts = {}
    for (table,) in cursor.fetchall():
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        counts[table] = int(cursor.fetchone()[0])
    return counts


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _dump(folder: TeamFolder, postgres: Postgres, name: str, target: Path) -> dict[str, int]:
    """Dump a database as of one snapshot, and return its rows in that snapshot."""
    with closing(postgres.connect(name, name)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor = connection.cursor()
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        counts = count_rows(connection)
        words = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
        words += [f"--file={target.resolve()}", *_address(postgres, name)]
        run([str(postgres.programs / "pg_dump"), *words], env=_passfile(folder, name))
    return counts


def _load(folder: TeamFolder, postgres: Postgres, name: str, dump: Path) -> None:
    words = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges"]
    command = [str(postgres.programs / "pg_restore"), *words, *_address(postgres, name), str(dump.resolve())]
    run(command, env=_passfile(folder, name))


def _address(postgres: Postgres, name: str) -> list[str]:
    return [f"--host={HOST}", f"--port={postgres.port}", f"--username={name}", f"--dbname={name}", "--no-password"]


def _passfile(folder: TeamFolder, name: str) -> dict[str, str]:
    return {**os.environ, "PGPASSFILE": str(folder.passfile(name).resolve())}


def _differing(found: dict[str, int], manifest: dict[str, Any], name: str) -> str:
    wanted = manifest["rows"][name]
    pairs = {table: (wanted.get(table), found.get(table)) for table in {*wanted, *found}}
    return json.dumps({table: pair for table, pair in sorted(pairs.items()) if pair[0] != pair[1]})


def _check_there(folder: TeamFolder) -> None:
    if not (folder.cluster / "PG_VERSION").exists():
        step = "start the servers once (polite-flamingo team-server), or name their folder with --folder"
        raise ConfigError("no team's servers have been here", value=str(folder.root), next_step=step)
