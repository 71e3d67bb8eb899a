"""A team's servers, as far as no PostgreSQL is needed: restarts, ports, environments, passwords."""

from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path

import pytest

from polite_flamingo.errors import BusyError, ConfigError, StorageError
from polite_flamingo.launch.team import postgres, servers
from polite_flamingo.launch.team.folder import TeamFolder, client_environment, exports
from polite_flamingo.launch.team.migrate import migrate


@pytest.fixture
def folder(tmp_path: Path) -> TeamFolder:
    team = TeamFolder(tmp_path / "team")
    team.prepare()
    return team


def test_a_server_that_ends_is_started_again_and_given_up_when_it_does_not_stay(
    folder: TeamFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "PAUSE_SECONDS", 0.0)
    log = folder.log("short")
    server = servers.Server("Short", [sys.executable, "-c", "print('said')"], None, log, lambda: True)
    server.start()
    for _ in range(servers.RESTARTS):
        assert server.process is not None
        server.process.wait()
        server.keep_up()
    assert server.process is not None
    server.process.wait()
    with pytest.raises(StorageError, match="Short ended 6 times"):
        server.keep_up()
    assert log.read_text().splitlines() == ["said"] * (1 + servers.RESTARTS)


def test_a_server_that_does_not_start_shows_the_end_of_its_log(folder: TeamFolder) -> None:
    command = [sys.executable, "-c", "raise SystemExit('Detected out-of-date database schema')"]
    server = servers.Server("MLflow", command, None, folder.log("MLflow"), lambda: False)
    server.start()
    with pytest.raises(StorageError, match=r"(?s)out-of-date database schema.*team-migrate"):
        server.wait()


def test_a_taken_port_is_named_with_its_option() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=rf"(?s){port}.*--mlflow-port"):
            servers.Ports(mlflow=port, postgres=1, prefect=2).check()


def test_a_password_is_made_once_for_its_owner_alone(folder: TeamFolder) -> None:
    word = folder.password("mlflow")
    assert folder.password("mlflow") == word != folder.password("prefect")
    assert stat.S_IMODE(folder.passfile("mlflow").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.passfile("mlflow").parent.stat().st_mode) == 0o700


def test_the_servers_do_not_inherit_a_callers_own_servers(folder: TeamFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PGPASSWORD"):
        monkeypatch.setenv(name, "mine")
    for role in ("mlflow", "prefect"):
        assert "mine" not in folder.environment(role, 1).values()
        assert folder.password(role) not in str(folder.environment(role, 1))


def test_a_client_sources_where_the_servers_are() -> None:
    lines = exports(client_environment(5000, 4200)).splitlines()
    assert "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000" in lines
    assert "export PREFECT_API_URL=http://127.0.0.1:4200/api" in lines


def test_postgresql_that_is_not_installed_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="apt-get install postgresql"):
        postgres.programs()


def test_there_is_nothing_to_migrate_where_nobody_served(folder: TeamFolder) -> None:
    with pytest.raises(ConfigError, match="no team's servers have been here"):
        migrate(folder)
