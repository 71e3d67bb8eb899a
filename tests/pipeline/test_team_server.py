"""MLflow and Prefect on one PostgreSQL: two pipelines at once, a crash of the database, backup, restore, migration."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.pretence import PROJECT, STAND_IN, Copy

from polite_flamingo.errors import BusyError, ConfigError, DataError
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.locks import locked
from polite_flamingo.io.text import write_json
from polite_flamingo.launch.processes import Command, start, stop
from polite_flamingo.launch.team.backup import back_up, check, database, free_port, restore
from polite_flamingo.launch.team.folder import ADMIN, DATABASES, TeamFolder, write_secret
from polite_flamingo.launch.team.migrate import carry_over, migrate
from polite_flamingo.launch.team.postgres import Postgres, programs

PROFILES = ("tiny", "laptop")
STAGES = ("download",)
STEPS = 12
PATIENCE = 180.0  # seconds, on a machine that does other things as well
RECORDING = """\
import os, time
from polite_flamingo.tracking.base import Work
from polite_flamingo.tracking.mlflow import stage_run, track_outputs
if stage == "track-outputs":
    track_outputs()
else:
    with stage_run(Work(stage, profile)) as tracker:
        for step in range(int(os.environ["STEPS"])):
            tracker.metrics({"loss": 1 / (step + 1)}, step)
            tracker.flush()
            time.sleep(0.25)
        tracker.artifact(pathlib.Path("outs.json"))
"""
FLOW = """\
import _dvc, pathlib, sys
_dvc.ROOT = pathlib.Path(sys.argv[1])
_dvc.stages_flow("short", sys.argv[3:], "A few stages.")(sys.argv[2])
"""


def _installed() -> bool:
    try:
        programs()
    except ConfigError:
        return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.pipeline,
    pytest.mark.skipif(not _installed(), reason="PostgreSQL is not installed"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's account may enter where we are root (pytest's own is closed to others)."""
    folder = Path(tempfile.mkdtemp(prefix="team-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def serving(folder: Path, ports: Mapping[str, int]) -> Iterator[Command]:
    words = [word for name, port in ports.items() for word in (f"--{name}-port", str(port))]
    log = folder.with_suffix(".log")
    with open(log, "ab") as file:
        process = start([*VERB, "team-server", "--folder", str(folder), *words], env=environment(), log=file)
        try:
            until(lambda: process.poll() is not None or "Ctrl-C stops all" in log.read_text(), log)
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            stop(process)


VERB = (sys.executable, "-m", "polite_flamingo")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "POLITE_FLAMINGO_PIPELINE"}
    return {**kept, "PYTHONPATH": str(PROJECT / "src"), **more}


def until(holds: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.3)


def ask(url: str, query: Mapping[str, Any] | None = None) -> Any:
    """What a server says; nothing while its database is away."""
    data = None if query is None else json.dumps(query).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError):
        return {}


def recorded(ports: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Runs of MLflow by profile and stage (a pipeline's own by ``pipeline``): what a team would miss."""
    api = f"http://127.0.0.1:{ports['mlflow']}/api/2.0/mlflow"
    found = {}
    for run in ask(f"{api}/runs/search", {"experiment_ids": ["1"], "max_results": 100}).get("runs", []):
        tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        name = f"{tags['profile']} {tags.get('stage', 'pipeline')}"
        history = ask(f"{api}/metrics/get-history?run_id={run['info']['run_id']}&metric_key=loss").get("metrics", [])
        files = ask(f"{api}/artifacts/list?run_id={run['info']['run_id']}").get("files", [])
        found[name] = {
            "status": run["info"]["status"],
            "losses": sorted({(metric["step"], metric["value"]) for metric in history}),
            "files": sorted(file["path"] for file in files),
            "hashed": any(key.startswith("md5.") for key in tags),
        }
    return found


def ran(ports: Mapping[str, int]) -> list[tuple[str, str]]:
    """States of Prefect's flow runs and task runs."""
    api = f"http://127.0.0.1:{ports['prefect']}/api"
    flows, tasks = (ask(f"{api}/{kind}/filter", {}) or [] for kind in ("flow_runs", "task_runs"))
    return sorted(("flow", run["state_type"]) for run in flows) + sorted(
        (run["name"], run["state_type"]) for run in tasks
    )


def restored(folder: TeamFolder) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """What `recorded` and `ran` tell, read from the databases themselves."""
    from mlflow import MlflowClient

    found = {}
    with database(folder) as postgres:
        client = MlflowClient(
            f"postgresql+psycopg2://mlflow:{folder.password('mlflow')}@127.0.0.1:{postgres.port}/mlflow"
        )
        for run in client.search_runs(["1"]):
            history = client.get_metric_history(run.info.run_id, "loss")
            kept = folder.artifacts / run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
            found[f"{run.data.tags['profile']} {run.data.tags.get('stage', 'pipeline')}"] = {
                "status": run.info.status,
                "losses": sorted({(metric.step, metric.value) for metric in history}),
                "files": sorted(path.name for path in kept.glob("*")),
                "hashed": any(key.startswith("md5.") for key in run.data.tags),
            }
        with closing(postgres.connect("prefect", "prefect")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 'flow', state_type::text FROM flow_run")
            flows = sorted(cursor.fetchall())
            cursor.execute("SELECT name, state_type::text FROM task_run")
            return found, flows + sorted(cursor.fetchall())


def files(folder: Path) -> dict[str, str]:
    """Hashes of the files of a folder."""
    return {str(path.relative_to(folder)): hash_file(path) for path in folder.rglob("*") if path.is_file()}


def pipelines(place: Path, folder: TeamFolder) -> list[Command]:
    """Flows of two profiles of one project, whose pretended stages record to the team's server."""
    (place / "project").mkdir()
    copy = Copy(place / "project")
    source = str(PROJECT / "src" / "polite_flamingo")
    (copy.root / "polite_flamingo" / "__init__.py").write_text(f"__path__.append({source!r})\n")
    (copy.root / "polite_flamingo" / "__main__.py").write_text(STAND_IN + RECORDING)
    client = dict(line.removeprefix("export ").split("=", 1) for line in folder.client_file.read_text().splitlines())
    started = []
    for profile in PROFILES:
        settings = environment(**client, STEPS=str(STEPS), PREFECT_HOME=str(place / f"prefect-{profile}"))
        settings["PYTHONPATH"] += os.pathsep + str(PROJECT / "flows")
        command = [sys.executable, "-P", "-c", FLOW, str(copy.root), profile, *STAGES]
        with open(place / f"{profile}.log", "wb") as log:
            started.append(start(command, cwd=copy.root, env=settings, log=log))
    return started


def test_a_crash_of_the_database_loses_nothing_and_a_backup_holds_all(place: Path) -> None:
    folder, ports = TeamFolder(place / "team"), {name: free_port() for name in ("postgres", "mlflow", "prefect")}
    with serving(folder.root, ports):
        assert_secrets_are_kept(folder)
        assert ask(f"http://127.0.0.1:{ports['prefect']}/ui-settings")["api_url"] == "/api"  # where its pages ask
        assert_foreign_pages_are_refused(ports)
        flows = pipelines(place, folder)
        log = place / "tiny.log"
        until(
            lambda: sum("RUNNING" in run["status"] and bool(run["losses"]) for run in recorded(ports).values()) >= 2,
            log,
        )
        os.kill(int((folder.cluster / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        for profile, flow in zip(PROFILES, flows, strict=True):
            assert flow.wait(timeout=PATIENCE) == 0, (place / f"{profile}.log").read_text()[-4000:]
        done = [("flow", "COMPLETED")] * 2
        done += sorted((name, "COMPLETED") for name in (*STAGES, "track_outputs") for _ in PROFILES)
        until(lambda: ran(ports) == done, folder.log("Prefect"))
        runs = recorded(ports)
        stage = {"status": "FINISHED", "losses": [(step, 1 / (step + 1)) for step in range(STEPS)], "hashed": True}
        for profile in PROFILES:
            assert runs[f"{profile} pipeline"]["status"] == "FINISHED"
            for name in STAGES:
                assert runs[f"{profile} {name}"] == {**stage, "files": ["outs.json"]}
        back_up(folder, place / "backup")
        with pytest.raises(BusyError, match="another process"), locked(folder.root / "lock"):
            pass
    assert "is started again" in folder.root.with_suffix(".log").read_text()
    assert restore(place / "backup", TeamFolder(place / "second"))["rows"]["prefect"]["flow_run"] == 2
    second = TeamFolder(place / "second")
    migrate(second)
    assert restored(second) == (runs, done)
    assert files(second.artifacts) == files(folder.artifacts) != {}


def test_a_projects_runs_move_to_the_team_with_their_names_and_files(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    (place / "mlartifacts" / "polite-flamingo").mkdir(parents=True)
    (place / "mlartifacts" / "polite-flamingo" / "page.html").write_text("a page")
    own = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    experiment = own.create_experiment("polite-flamingo", "mlflow-artifacts:/polite-flamingo")
    own.create_experiment("earlier", (place / "mlruns").as_uri())
    run = own.create_run(experiment, tags={"profile": "tiny"}, run_name="tiny, first").info.run_id
    for step in range(3):
        own.log_metric(run, "loss", 1 / (step + 1), step=step)
    own.create_registered_model("assistant")
    own.create_model_version("assistant", "mlflow-artifacts:/polite-flamingo/model", run)
    own.set_registered_model_alias("assistant", "champion", "1")
    folder = TeamFolder(place / "team")
    assert carry_over(place / "mlflow.db", folder)["runs"] == 1
    assert "files of experiment 'earlier' stay in" in caplog.text
    assert (folder.artifacts / "polite-flamingo" / "page.html").read_text() == "a page"
    with database(folder) as postgres:
        address = f"mlflow:{folder.password('mlflow')}@127.0.0.1:{postgres.port}/mlflow"
        team = MlflowClient(f"postgresql+psycopg2://{address}")
        assert team.get_run(run).to_dictionary() == own.get_run(run).to_dictionary()
        assert [metric.value for metric in team.get_metric_history(run, "loss")] == [1, 1 / 2, 1 / 3]
        assert team.get_model_version_by_alias("assistant", "champion").run_id == run
        assert team.create_experiment("the next one") == "3"
    with pytest.raises(ConfigError, match="runs or models of its own"):
        carry_over(place / "mlflow.db", folder)


def test_the_script_of_the_containers_makes_what_is_missing(place: Path) -> None:
    folder = TeamFolder(place / "team")
    folder.prepare()
    postgres = Postgres(folder, free_port())
    postgres.initialise()
    words = {ADMIN: folder.password(ADMIN), "mlflow": "it's \\ $1", "prefect": "another"}
    for name, word in words.items():
        (place / f"{name}_password").write_text(word)
    settings = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": ADMIN, "SECRETS": str(place)}
    with postgres.running():
        with closing(postgres.connect(ADMIN, ADMIN)) as connection:
            connection.autocommit = True
            for what in ("DATABASE mlflow", "ROLE mlflow"):
                connection.cursor().execute(f"DROP {what}")
        for _ in range(2):
            subprocess.run(["sh", str(PROJECT / "deploy" / "databases.sh")], env={**os.environ, **settings}, check=True)
        for name in DATABASES:
            folder.passfile(name).unlink()
            word = words[name].replace("\\", "\\\\").replace(":", "\\:")
            write_secret(folder.passfile(name), f"127.0.0.1:*:*:{name}:{word}\n")
            with closing(postgres.connect(name, name)) as connection:
                connection.cursor().execute("CREATE TABLE own (number int)")
        with pytest.raises(Exception, match="permission denied for database"):
            postgres.connect("mlflow", "prefect")


def test_a_file_altered_in_a_backup_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.dump").write_text("rows")
    entry = {"bytes": 4, "sha256": hash_file(tmp_path / "mlflow.dump")}
    write_json(tmp_path / "manifest.json", {"format": 1, "files": {"mlflow.dump": entry}})
    check(tmp_path)
    (tmp_path / "mlflow.dump").write_text("rowz")
    with pytest.raises(DataError, match="altered"):
        check(tmp_path)


def assert_foreign_pages_are_refused(ports: Mapping[str, int]) -> None:
    """Neither another host name nor another origin reads or makes anything."""
    asked = {"mlflow": "api/2.0/mlflow/experiments/create", "prefect": "api/flows/"}
    for name, path in asked.items():
        url = f"http://127.0.0.1:{ports[name]}/{path}"
        for header in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
            headers = {"content-type": "application/json", **header}
            request = urllib.request.Request(url, data=b'{"name": "foreign"}', headers=headers)
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(request, timeout=20)


def assert_secrets_are_kept(folder: TeamFolder) -> None:
    """Passwords stand in files of one's own alone: in no command line, no log, no file for clients."""
    words = [folder.password(role) for role in (ADMIN, *DATABASES)]
    assert len(set(words)) == 3
    for role in (ADMIN, *DATABASES):
        assert stat.S_IMODE(folder.passfile(role).stat().st_mode) == 0o600
    texts = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    texts += [path.read_bytes() for path in (*(folder.root / "logs").iterdir(), folder.client_file)]
    assert not any(word.encode() in text for word in words for text in texts)
