"""``team-server``, ``team-backup``, ``team-restore``, ``team-migrate``: MLflow and Prefect for a team, on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

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
def team_server(folder: Path, postgres_port: int, mlflow_port: int, prefect_port: int, worker: bool) -> int:
    """Serve MLflow and Prefect on a PostgreSQL of their own, on localhost.

    The first time the databases are made, with passwords that lie in files only you can read. `source DIR/client.env`
    points a shell at both servers. A server that ends by itself is started again; Ctrl-C stops all, and the same command
    goes on with the same data.
    """
    from polite_flamingo.launch.team.folder import TeamFolder
    from polite_flamingo.launch.team.servers import Ports, serve_team

    return serve_team(TeamFolder(folder), Ports(postgres_port, mlflow_port, prefect_port), worker=worker)
