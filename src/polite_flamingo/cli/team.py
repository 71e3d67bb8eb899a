"""``team-server``, ``team-backup``, ``team-restore``, ``team-migrate``: MLflow and Prefect for a team."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from polite_flamingo.cli.command import positive, verb
from polite_flamingo.cli.options import FILE

FOLDER = Path(".work/team")
in_folder = click.option("--folder", type=FILE, default=FOLDER, metavar="DIR", help=f"the team's data ({FOLDER})")


@verb("team-server", "", "--folder /srv/flamingo --worker")
@in_folder
@click.option("--postgres-port", type=positive, default=5433, metavar="N", help="default: 5433")
@click.option("--mlflow-port", type=positive, default=5000, metavar="N", help="default: 5000")
@click.option("--prefect-port", type=positive, default=4200, metavar="N", help="default: 4200")
@click.option("--worker", is_flag=True, help="also run deployments of the work pool `local` here")
@click.option("--public", multiple=True, metavar="NAME", help="a name that a proxy in front of the servers has")
def team_server(
    folder: Path, postgres_port: int, mlflow_port: int, prefect_port: int, worker: bool, public: tuple[str, ...]
) -> int:
    """Serve MLflow and Prefect on a PostgreSQL of their own, on localhost.

    The first time the databases are made, with passwords that lie in files only you can read. `source DIR/client.env`
    points a shell at both servers. A server that ends by itself is started again. Ctrl-C stops all; the same command
    goes on with the same data.
    """
    from polite_flamingo.launch.team.folder import TeamFolder
    from polite_flamingo.launch.team.servers import Ports, serve_team

    ports = Ports(postgres_port, mlflow_port, prefect_port)
    return serve_team(TeamFolder(folder), ports, click.echo, worker=worker, public=public)


@verb("team-backup", "backups/2026-05-01", "backups/2026-05-01 --folder /srv/flamingo")
@click.argument("target", type=FILE)
@in_folder
def team_backup(target: Path, folder: Path) -> None:
    """Write both databases and all artifacts into a new folder, with a manifest of hashes; the servers may run."""
    from polite_flamingo.launch.team.backup import back_up
    from polite_flamingo.launch.team.folder import TeamFolder

    print(_contents(back_up(TeamFolder(folder), target)))


@verb("team-restore", "backups/2026-05-01 --folder /srv/flamingo")
@click.argument("backup", type=FILE)
@in_folder
def team_restore(backup: Path, folder: Path) -> None:
    """Make a new team's folder of a backup, after checking it; every table must have the rows it had."""
    from polite_flamingo.launch.team.backup import restore
    from polite_flamingo.launch.team.folder import TeamFolder

    print(_contents(restore(backup, TeamFolder(folder))))


@verb("team-migrate", "", "--from-local mlflow.db")
@in_folder
@click.option("--from-local", type=FILE, metavar="FILE", help="also carry over the runs of a project's mlflow.db")
def team_migrate(folder: Path, from_local: Path | None) -> None:
    """Bring both databases to the installed versions of MLflow and Prefect, after a backup; the servers are stopped."""
    from polite_flamingo.launch.team.folder import TeamFolder
    from polite_flamingo.launch.team.migrate import carry_over, migrate

    if from_local is not None:
        counts = carry_over(from_local, TeamFolder(folder))
        print("\n".join(f"{table:<24} {count:>9,} rows" for table, count in sorted(counts.items())))
        return
    for name, (before, after) in migrate(TeamFolder(folder)).items():
        print(f"{name:<10} {after}" if before == after else f"{name:<10} {before or 'empty'} -> {after}")


def _contents(manifest: Mapping[str, Any]) -> str:
    rows, files = manifest["rows"], manifest["files"].values()
    return (
        f"MLflow     {rows['mlflow'].get('experiments', 0):,} experiments, {rows['mlflow'].get('runs', 0):,} runs, "
        f"{rows['mlflow'].get('model_versions', 0):,} model versions\n"
        f"Prefect    {rows['prefect'].get('deployment', 0):,} deployments, {rows['prefect'].get('flow_run', 0):,} flow "
        f"runs, {rows['prefect'].get('task_run', 0):,} task runs\n"
        f"Files      {len(files):,}, {sum(file['bytes'] for file in files) / 1e6:,.1f} MB, as of {manifest['written']}"
    )


VERBS = (team_server, team_backup, team_restore, team_migrate)
