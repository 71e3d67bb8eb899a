"""MLflow gets one parent per pipeline and a child per stage; recording never stops a stage."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from polite_flamingo.cli import main
from polite_flamingo.environment import PIPELINE_VARIABLE
from polite_flamingo.io.text import write_jsonl
from polite_flamingo.tracking import mlflow as tracking
from polite_flamingo.tracking import start_tracker
from polite_flamingo.tracking.base import NullTracker, Work
from polite_flamingo.tracking.outputs import LOCK_FILE, EndedRun, waiting
from polite_flamingo.tracking.store import EXPERIMENT, open_client

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('runs'))}"


@pytest.fixture
def client(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv(PIPELINE_VARIABLE, request.node.name)
    return open_client()


def _runs(client: Any, pipeline: str) -> tuple[Any, list[Any]]:
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    (parent,) = client.search_runs([experiment], f"tags.pipeline = '{pipeline}'")
    children = client.search_runs(
        [experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", order_by=["attributes.start_time ASC"]
    )
    return parent, children


def test_stages_of_one_pipeline_share_a_parent(client: Any, request: pytest.FixtureRequest) -> None:
    for stage in ("score", "filter"):
        with tracking.stage_run(Work(stage, "tiny", {"seed": 42, "filter": {"sts": {"min_cosine": 0.4}}})):
            pass
    parent, children = _runs(client, request.node.name)
    assert [child.info.run_name for child in children] == ["score", "filter"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert children[1].data.params["filter.sts.min_cosine"] == "0.4"
    assert children[1].data.tags["profile"] == "tiny"
    assert {"git.commit", "git.dirty"} <= set(children[1].data.tags)


def test_figures_steps_and_files_arrive(client: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"png")
    with tracking.stage_run(Work("train_rewriter", "tiny")) as tracker:
        for step in range(1200):  # more than one batch
            tracker.metrics({"loss": 1 / (step + 1)}, step=step)
        tracker.metrics({"held_out": {"rouge l%": 0.5}, "text": "no number", "nan": float("nan"), "none": None})
        tracker.artifact(tmp_path / "figure.png")
    _, (child,) = _runs(client, request.node.name)
    assert len(client.get_metric_history(child.info.run_id, "loss")) == 1200
    assert set(child.data.metrics) == {"loss", "held_out.rouge l_", "seconds", "cpu_seconds"}
    assert [file.path for file in client.list_artifacts(child.info.run_id)] == ["figure.png"]


def test_figures_of_a_long_stage_arrive_while_it_runs(
    client: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracking.stage_run(Work("rewrite", "tiny")) as tracker:
        tracker.metrics({"records_done": 1.0}, step=1)
        _, (child,) = _runs(client, request.node.name)
        assert client.get_metric_history(child.info.run_id, "records_done") == []
        monkeypatch.setattr(tracking, "SECONDS_PER_BATCH", 0.0)
        tracker.metrics({"records_done": 2.0}, step=2)
        assert [m.value for m in client.get_metric_history(child.info.run_id, "records_done")] == [1.0, 2.0]


def test_figures_that_did_not_arrive_are_sent_later_and_a_silent_server_is_not_asked_again_at_once(
    client: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "METRICS_PER_BATCH", 2)
    asked = []

    def silent(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise ConnectionError("no answer")

    with tracking.stage_run(Work("rewrite", "tiny")) as tracker:
        with monkeypatch.context() as outage:
            outage.setattr(type(client), "log_batch", silent)
            for step in range(6):
                tracker.metrics({"loss": float(step)}, step=step)
        assert len(asked) == 1
    _, (child,) = _runs(client, request.node.name)
    assert [m.value for m in client.get_metric_history(child.info.run_id, "loss")] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_failing_stage_fails_its_run_and_keeps_its_own_error(client: Any, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ZeroDivisionError), tracking.stage_run(Work("filter", "tiny")):
        raise ZeroDivisionError
    parent, (child,) = _runs(client, request.node.name)
    assert (parent.info.status, child.info.status) == ("FAILED", "FAILED")
    assert list(waiting()) == []
    path = f"/#/experiments/{parent.info.experiment_id}/runs"
    assert tracking.run_pages() == {"pipeline": f"{path}/{parent.info.run_id}", "filter": f"{path}/{child.info.run_id}"}


def test_a_store_that_cannot_be_opened_warns_and_the_stage_runs(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "no-such-scheme://nowhere")
    with caplog.at_level(logging.WARNING), tracking.stage_run(Work("filter", "tiny")) as tracker:
        tracker.metrics({"kept": 1})
    assert isinstance(tracker, NullTracker)
    assert "start of the run was not recorded" in caplog.text


def test_a_file_that_is_not_there_warns(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), tracking.stage_run(Work("filter", "tiny")) as tracker:
        tracker.artifact(Path("missing.png"))
    assert "artifact missing.png was not recorded" in caplog.text


def _lock(md5: str) -> None:
    outs = [{"path": "data/tiny/pf1m", "md5": md5, "hash": "md5"}]
    LOCK_FILE.write_text(yaml.safe_dump({"schema": "2.0", "stages": {"filter@tiny": {"outs": outs}}}))
    later = time.time() + 1
    os.utime(LOCK_FILE, (later, later))


def test_outputs_are_tagged_once_dvc_has_hashed_them(client: Any, request: pytest.FixtureRequest) -> None:
    _lock("stale")
    os.utime(LOCK_FILE, (1, 1))  # written before this run
    with tracking.stage_run(Work("filter", "tiny")):
        pass
    assert tracking.track_outputs() == 0
    _lock("abc.dir")
    assert tracking.track_outputs() == 1
    _, (child,) = _runs(client, request.node.name)
    assert child.data.tags["md5.data/tiny/pf1m"] == "abc.dir"
    assert list(waiting()) == []


def test_the_next_stage_tags_the_one_before(client: Any, request: pytest.FixtureRequest) -> None:
    with tracking.stage_run(Work("filter", "tiny")):
        pass
    _lock("abc.dir")
    with tracking.stage_run(Work("evaluate", "tiny")):
        pass
    _, (first, second) = _runs(client, request.node.name)
    assert "md5.data/tiny/pf1m" in first.data.tags
    assert [tag for tag in second.data.tags if tag.startswith("md5.")] == []


def test_a_run_that_dvc_never_took_is_ended_when_its_stage_runs_again(
    client: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_dvc = replace(tracking.pipeline_run(), by_dvc=True)
    monkeypatch.setattr(tracking, "pipeline_run", lambda: by_dvc)
    for _ in range(2):
        with tracking.stage_run(Work("filter", "tiny")):
            pass
    parent, (first, second) = _runs(client, request.node.name)
    assert [run.info.status for run in (first, second, parent)] == ["KILLED", "FINISHED", "FINISHED"]
    assert "before it took the outputs" in first.data.tags["ended.reason"]


def test_a_run_that_is_gone_is_not_waited_for(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    EndedRun("filter", "tiny", "0" * 32, "0" * 32, (), True, 0.0).wait()
    _lock("abc.dir")
    tracking.track_outputs()
    assert list(waiting()) == []


def test_nothing_to_tag_does_not_even_load_mlflow(tmp_path: Path) -> None:
    code = (
        "import sys; from polite_flamingo.tracking.mlflow import track_outputs;"
        "print(track_outputs(), 'mlflow' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(PROJECT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "False"]


def test_stages_of_one_dvc_process_belong_together(tmp_path: Path) -> None:
    # `dvc repro` is recognised by its command line; two stages it starts see the same key, a stage by hand another
    dvc = tmp_path / "dvc"
    key = "from polite_flamingo.tracking.owner import pipeline_run; print(pipeline_run().key)"
    dvc.write_text(
        "import subprocess, sys\n"
        f"for _ in range(2): subprocess.run(['sh', '-c', '{sys.executable} -c \"{key}\"; true'], check=True)\n"
    )
    environment = {"PYTHONPATH": str(PROJECT / "src"), "PATH": os.environ["PATH"]}
    run = {"env": environment, "capture_output": True, "text": True, "check": True}
    first, second = subprocess.run([sys.executable, str(dvc), "repro"], **run).stdout.split()  # type: ignore[call-overload]
    assert first == second
    assert first.startswith("dvc-")
    alone = subprocess.run([sys.executable, "-c", key], **run).stdout  # type: ignore[call-overload]
    assert alone.startswith("stage-")


def test_an_evaluation_of_answers_is_recorded_with_its_figures_table_and_page(client: Any) -> None:
    asked = [{"question_id": i, "image": f"{i}.jpg", "question": f"What {i}?", "answer": "dog"} for i in range(4)]
    write_jsonl(Path("q.jsonl"), asked)
    write_jsonl(Path("a.jsonl"), [{"question_id": i, "answer": "dog"} for i in range(4)])
    write_jsonl(Path("b.jsonl"), [{"question_id": i, "answer": "A cat."} for i in range(3)])
    given = ["a.jsonl", "other (7b)=b.jsonl", "--data", "q.jsonl", "--resamples", "20", "--out", "out"]
    assert main(["evaluate-answers", *given]) == 0
    names = {"experiment_ids": [client.get_experiment_by_name(EXPERIMENT).experiment_id]}
    runs = [run for run in client.search_runs(**names) if "q.a.official" in run.data.metrics]
    (run,) = runs
    assert (run.data.metrics["q.a.official"], run.data.metrics["q.other _7b_.official"]) == (1.0, 0.0)
    parent = run.data.tags["mlflow.parentRunId"]
    files = {one.path for own in (run.info.run_id, parent) for one in client.list_artifacts(own)}
    assert {"page.html", "report.json", "forest.png", "figures.json"} <= files


def test_tracking_may_be_switched_off() -> None:
    with start_tracker("none", Work("filter", "tiny")) as tracker:
        assert isinstance(tracker, NullTracker)
