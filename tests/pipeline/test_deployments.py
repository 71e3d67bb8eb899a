"""Deployments as a team uses them, by Prefect's API: deploy, schedule, approve, cancel, go on, a gate that fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
import yaml
from tests.pipeline.pretence import PROJECT, STAGES
from tests.pipeline.team import BLOCK, Team

from polite_flamingo.io.shards import write_shards
from polite_flamingo.pipeline import CURATE
from polite_flamingo.records import Sample, Task, Turn

pytestmark = [pytest.mark.slow, pytest.mark.pipeline]

PLAN = {
    "processes": 1,
    "warnings": [],
    "trainings": {"stage1": {"steps": 101, "tokens": 388352, "hours": 2.5, "memory": {"total": 1.9e9}}},
}
PROFILES = sorted(path.stem for path in (PROJECT / "configs" / "profiles").glob("*.yaml"))
TOO_SLOW = {"seconds": 600}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with Team(tmp_path_factory.mktemp("team")) as team:
        for stage in CURATE:  # what the tuning reads
            team.python("-m", "polite_flamingo", stage, "--profile", "tiny")
        (team.copy.root / "ran.txt").unlink()
        yield team


def ran(team: Team) -> list[str]:
    """Stages that worked since this was asked last."""
    log = team.copy.root / "ran.txt"
    stages = [line.partition("@")[0] for line in log.read_text().split()]
    log.unlink()
    return [stage for stage in stages if stage in STAGES]


def processes(team: Team) -> list[str]:
    """Commands of stage 2 that run in the project, not in another one of this machine."""
    found = psutil.process_iter(["cmdline", "cwd"])
    commands = {
        " ".join(process.info["cmdline"] or ()) for process in found if process.info["cwd"] == str(team.copy.root)
    }
    return [line for line in commands if "polite_flamingo tune_stage2" in line or "tune_stage2@tiny" in line]


def test_the_server_knows_every_parameter_and_refuses_what_is_none(team: Team) -> None:
    for name in ("full/nightly", "curate/curate", "tune/tune", "evaluate/evaluate", "fetch/fetch"):
        deployment = team.deployment(name)
        assert deployment["version"] == team.copy.git("rev-parse", "--short", "HEAD").strip()
        assert "polite-flamingo" in deployment["tags"]
        described = deployment["parameter_openapi_schema"]["properties"]
        assert all(parameter.get("description") for parameter in described.values())
        assert name == "fetch/fetch" or described["profile"]["anyOf"][0]["enum"] == PROFILES
    for parameters in ({"profile": "tinny"}, {"stage_hours": 0}, {"approve": "perhaps"}):
        assert team.run("tune/tune", **parameters)["refused"] == 409


def test_the_tuning_waits_for_a_persons_word(team: Team) -> None:
    team.copy.play(plan={"prints": PLAN})
    run = team.run("tune/tune", approve=True)["id"]
    paused = team.wait(run, "Paused")
    assert paused["name"].startswith("tiny · ")
    assert paused["name"].endswith(" · tune")
    keyset = paused["state"]["state_details"]["run_input_keyset"]
    team.until(lambda: "'who' is a required property" in team.answer(run, approve=True)["details"]["reason"])
    page = f"/flow_runs/{run}/input/{keyset['description']}"
    team.until(lambda: "| stage1 | 101 | 388,352 | 2.5 | 1.9 |" in str(team.ask("GET", page)))
    team.answer(run, approve=False, who="Ada", comment="too many steps")
    assert team.wait(run, "Cancelled")["state"]["message"] == "Ada did not approve the tuning: too many steps"

    team.set_state(run, "SCHEDULED")  # the same run, asked again
    team.wait(run, "Paused")
    team.until(lambda: team.answer(run, approve=True, who="Ada")["status"] == "ACCEPT")
    assert team.wait(run, "Completed")["state"]["message"] == "4 stages ran, 0 were up to date"
    assert ran(team) == ["tune_stage1", "tune_stage2", "tune_stage3", "tune_raw"]


def test_a_cancelled_run_leaves_no_process_and_goes_on_while_a_scheduled_one_waits(team: Team) -> None:
    team.copy.edit("src/polite_flamingo/stages/tune.py", "# code", "# other code")
    team.copy.play(tune_stage2=TOO_SLOW)
    run = team.run("tune/tune")["id"]
    team.until(lambda: processes(team))
    team.until(lambda: team.artifact("tiny-tune-stage2-progress").get("data") is not None)
    team.set_state(run, "CANCELLING")
    team.wait(run, "Cancelled")
    team.until(lambda: not processes(team))

    team.copy.play(tune_stage2={"until": "go.txt"})
    ran(team)
    team.set_state(run, "SCHEDULED")
    team.until(lambda: processes(team))
    path = f"/deployments/{team.deployment('evaluate/evaluate')['id']}/schedules"
    soon = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    (schedule,) = team.ask("POST", path, [{"schedule": {"interval": 60, "anchor_date": soon}, "active": True}])

    def first() -> dict[str, Any]:
        where = {"deployments": {"name": {"any_": ["evaluate"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found: list[dict[str, Any]] = team.ask("POST", "/flow_runs/filter", where)
        return next((run for run in found if run["auto_scheduled"] and run["state_name"] != "Scheduled"), {})

    team.until(first)
    team.ask("DELETE", f"{path}/{schedule['id']}")
    waiting = first()["id"]
    team.until(lambda: "another run works on profile tiny: waiting for it" in team.lines(waiting))
    (team.copy.root / "go.txt").touch()
    assert team.wait(run, "Completed")["state"]["message"] == "3 stages ran, 1 were up to date"
    assert team.wait(waiting, "Completed")["state"]["message"] == "2 stages ran, 0 were up to date"
    assert ran(team)[:5] == ["tune_stage2", "tune_stage3", "tune_raw", "evaluate", "summary"]


def test_a_failed_gate_names_its_rows_where_people_look(team: Team) -> None:
    block = team.python("-c", BLOCK.format(url=f"http://127.0.0.1:{team.inbox.server_port}")).strip()
    automations = (PROJECT / "deploy" / "automations.yaml").read_text()
    (team.folder / "automations.yaml").write_text(automations.replace("NOTIFICATION_BLOCK", block))
    team.prefect("automation", "create", "--from-file", str(team.folder / "automations.yaml"))
    known = {automation["name"] for automation in team.ask("POST", "/automations/filter", {})}
    assert known == {automation["name"] for automation in yaml.safe_load(automations)["automations"]}

    turns = (Turn("human", "What?"), Turn("assistant", "A cat."))
    roles = ("instruction", "annotation", "evaluation", "pf1m")
    for number, role in enumerate(roles, 7):
        licence = "CC BY 4.0" if number > 7 else " "  # nobody knows the first one
        sample = Sample(f"coco/train/{number}", "coco", "train", licence, Task.TEXT, turns)
        write_shards(team.copy.root / "given" / role, [sample.to_row()])
    (team.copy.root / "given" / "quarantine.jsonl").touch()
    team.copy.play(download={"copies": {"given": "data/tiny/samples"}}, check_raw={"source": str(PROJECT / "src")})
    run = team.run("curate/curate")["id"]
    state = team.wait(run, "GateFailed")["state"]
    assert state["type"] == "FAILED"
    assert "gate 'raw' failed 1 of" in state["message"]
    named = r"coco/train/7: ' ' \(data/tiny/samples/instruction/part-\d+\.parquet, row 0\)"
    assert re.search(named, state["message"]), state["message"]
    tasks = team.ask("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    states = {task["name"]: task["state_name"] for task in tasks}
    assert (states["download"], states["check_raw"], states["backbones"]) == ("Completed", "GateFailed", "NotReady")
    assert "coco/train/7" in str(team.artifact("tiny-check-raw")["data"])
    team.until(lambda: any("GateFailed" in message and "coco/train/7" in message for message in team.inbox.messages))
