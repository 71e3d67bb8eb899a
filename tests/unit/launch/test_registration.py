"""A profile's trained models become versions; the gate decides which is the champion."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from polite_flamingo import cli
from polite_flamingo.environment import TRACKING_VARIABLE
from polite_flamingo.errors import DataError
from polite_flamingo.io.shards import write_shards
from polite_flamingo.io.text import write_json
from polite_flamingo.launch import registration
from polite_flamingo.params.changes import changed
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Image, Rewrite, Sample, Task, Turn
from polite_flamingo.registry.kinds import KINDS
from polite_flamingo.registry.parts import folder_md5
from polite_flamingo.tracking.registry import CHALLENGER, CHAMPION, ModelRegistry

PROJECT = Path(__file__).resolve().parents[3]
ASSISTANT = KINDS["assistant"]
NAME = ASSISTANT.registered
QUESTIONS = 60


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, made once."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def params(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project whose evaluation is done; weights are stand-ins, for registering loads none."""
    shutil.copy(database, tmp_path)
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRACKING_VARIABLE, f"sqlite:///{tmp_path / 'mlflow.db'}")
    made = load_params()
    for folder in ("backbones/flamingo", "stage3", "stage2"):
        (made.models / folder).mkdir(parents=True)
        (made.models / folder / "w.safetensors").write_text(folder)
    for index in range(QUESTIONS):
        image = made.image_root / f"{index}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_text(str(index))
    question = Sample("q", "s", "e", "CC0", Task.VQA, (Turn("human", "?"), Turn("assistant", "!")))
    write_shards(made.data / "samples" / "annotation", [question.to_row()])
    write_json(made.reports / "checks" / "check_pf1m.json", {"name": "check_pf1m", "passed": True})
    judges = {name: {"source": "packaged", "weights": name} for name in ("nli", "sts", "reward")}
    write_json(made.reports / "evaluate.json", {"judges": {**judges, "exact": None}})
    for stage, right in (("stage3", 45), ("stage2", 20)):
        answer(made, stage, right)
    lock(made)
    return made


def answer(params: Params, stage: str, right: int, asked: str = "what?") -> None:
    """Judged answers of a model, the first `right` of which are right."""
    record = Rewrite("", "x", "e", "CC0", Task.VQA, asked, (), "red", f"by {stage}", "stop")
    rows = []
    for index in range(QUESTIONS):
        scores = {"entailed": index < right, "exact": None, "reward": 1.0}
        made = replace(record, id=f"q{index}", images=(Image(f"{index}.png"),), scores=scores)
        rows.append(made.to_row())
    write_shards(params.data / "answers" / stage, rows)


def lock(params: Params) -> None:
    """dvc.lock as DVC would write it for what lies there."""
    models = {f"models/tiny/{name}": folder_md5(params.models / name) for name in ("stage3", "stage2", "backbones")}

    def entries(*paths: str) -> list[dict[str, str]]:
        return [{"path": path, "md5": models.get(path) or folder_md5(Path(path))} for path in paths]

    stages = {
        "tune_stage3@tiny": {"outs": entries("models/tiny/stage3")},
        "tune_stage2@tiny": {"outs": entries("models/tiny/stage2")},
        "evaluate@tiny": {
            "deps": entries("models/tiny/stage3", "models/tiny/stage2"),
            "outs": entries("data/tiny/answers"),
        },
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def aliased(alias: str) -> int | None:
    found = ModelRegistry().aliased(NAME, alias)
    return found and found.number


def models(*words: str) -> int:
    return cli.main(["models", *words])


def test_the_first_version_is_champion_and_is_registered_once(params: Params) -> None:
    made, new = registration.register(params, ASSISTANT)
    assert (made.number, new, aliased(CHAMPION), aliased(CHALLENGER)) == (1, True, 1, None)
    assert registration.register(params, ASSISTANT)[1] is False
    assert made.tags["md5.models/tiny/stage3"] == folder_md5(params.models / "stage3")
    assert made.tags["figure.qa_out_of_domain"] == "0.7500"
    assert made.tags["licence"] == "CC0 100%"
    assert made.tags["gates"] == "held: check_pf1m"
    assert made.tags["size"] == "0.0 MB, copied: base, adapter"


def test_a_worse_challenger_is_refused_with_its_figures_until_a_reason_is_given(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    registration.register(params, ASSISTANT)
    assert models("register", "assistant", "--stage", "stage2") == 0
    assert (aliased(CHAMPION), aliased(CHALLENGER)) == (1, 2)
    capsys.readouterr()
    assert models("promote", "assistant") == 1
    shown = capsys.readouterr().out
    assert "qa_out_of_domain" in shown and "-0.417" in shown
    assert shown.endswith("version 2 is refused: qa_out_of_domain worse\n")
    assert aliased(CHAMPION) == 1
    assert models("promote", "assistant", "--force", "the champion names people") == 0
    assert (aliased(CHAMPION), aliased(CHALLENGER)) == (2, None)
    assert "the champion names people" in ModelRegistry().version(NAME, 2).tags["promotion.forced"]
    assert models("rollback", "assistant", "--reason", "a mistake") == 0
    assert aliased(CHAMPION) == 1
    capsys.readouterr()
    assert models("list", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)[NAME]
    assert (first["aliases"], second["rolled_back"], second["trained"]) == (["champion"], "a mistake", "stage2")


def test_a_better_version_takes_over(params: Params) -> None:
    registration.register(params, ASSISTANT, "stage2")
    registration.register(params, ASSISTANT)
    outcome = registration.promote(params, ASSISTANT)
    assert outcome.promoted and aliased(CHAMPION) == 2
    assert {row.figure: row.verdict for row in outcome.rows}["qa_out_of_domain"] == "better"
    assert registration.promote(params, ASSISTANT, 2).text.endswith("is the champion already")


def test_answers_to_other_questions_are_no_comparison(params: Params) -> None:
    registration.register(params, ASSISTANT)
    answer(params, "stage2", 60, asked="something else?")
    lock(params)
    registration.register(params, ASSISTANT, "stage2")
    outcome = registration.promote(params, ASSISTANT)
    assert not outcome.promoted
    assert "qa_out_of_domain measured on something else" in outcome.text


def test_the_same_weights_measured_anew_need_no_comparison(params: Params) -> None:
    registration.register(params, ASSISTANT)
    answer(params, "stage3", 45, asked="something else?")
    lock(params)
    made, new = registration.register(params, ASSISTANT)
    assert (made.number, new) == (2, True)
    assert registration.promote(params, ASSISTANT).promoted


def test_without_its_gates_no_version_is_champion(params: Params) -> None:
    write_json(params.reports / "checks" / "check_pf1m.json", {"name": "check_pf1m", "passed": False})
    registration.register(params, ASSISTANT)
    assert (aliased(CHAMPION), aliased(CHALLENGER)) == (None, 1)
    assert "its quality gates: failed: check_pf1m" in registration.promote(params, ASSISTANT).text


def test_another_profile_is_no_challenger(params: Params) -> None:
    registration.register(params, ASSISTANT)
    other = ModelRegistry().version(NAME, 1)
    ModelRegistry().note(other, {"profile": "paper"})
    registration.register(params, ASSISTANT, "stage2")
    assert aliased(CHALLENGER) is None


def test_large_weights_are_referred_to(params: Params) -> None:
    small = changed(params, {"registry.copy_below_gb": 0.0})
    made, _ = registration.register(small, ASSISTANT)
    assert made.tags["size"].endswith("copied: nothing")
    (config,) = (Path("mlartifacts")).rglob("MLmodel")
    parts = yaml.safe_load(config.read_text())["flavors"]["python_function"]["config"]["parts"]
    assert parts["adapter"]["md5"] == folder_md5(params.models / "stage3")


def test_a_model_trained_outside_dvc_is_not_registered(params: Params) -> None:
    (params.models / "stage3" / "w.safetensors").write_text("new")
    with pytest.raises(DataError, match="not what dvc"):
        registration.register(params, ASSISTANT)


def test_the_end_of_a_run_registers_what_is_new_and_asks_nobody_otherwise(
    params: Params, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    registration.register_finished(params)
    assert aliased(CHAMPION) == 1

    def unasked(*_: Any) -> None:
        raise OSError("the server is gone")

    monkeypatch.setattr(registration, "ModelRegistry", unasked)
    registration.register_finished(params)
    assert "server is gone" not in caplog.text
    answer(params, "stage3", 50)
    lock(params)
    registration.register_finished(params)
    assert "the assistant was not registered (OSError: the server is gone)" in caplog.text
