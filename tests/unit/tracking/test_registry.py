"""MLflow's registry: one version per content, aliases that survive kills and races, a history to go back in."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.environment import TRACKING_VARIABLE
from polite_flamingo.errors import BusyError, ModelError, StorageError
from polite_flamingo.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    HISTORY,
    ModelPackage,
    ModelRegistry,
    SourceRun,
    answering_store,
)  # fmt: skip
from polite_flamingo.tracking.store import SCHEME, artifact_repository

NAME = "polite-flamingo-echo"
CODE = """
import mlflow, pandas as pd
from mlflow.pyfunc import PythonModel

class Echo(PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        words = open(context.artifacts["words"]).read()
        return pd.DataFrame({"text": [f"{words} {q} {params['times']}" for q in model_input["question"]]})

mlflow.models.set_model(Echo())
"""


@pytest.fixture
def registry(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelRegistry:
    shutil.copy(empty_store, tmp_path)
    (tmp_path / "echo.py").write_text(CODE)
    (tmp_path / "words.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRACKING_VARIABLE, f"sqlite:///{tmp_path / 'mlflow.db'}")
    return ModelRegistry()


def package(content: str, **changed: Any) -> ModelPackage:
    made = ModelPackage(
        name=NAME,
        purpose="echoes",
        code=Path("echo.py").resolve(),
        files={"words": Path("words.txt")},
        config={"kind": "echo"},
        inputs=[("question", True, False), ("images", False, True)],
        outputs=["text"],
        parameters={"times": 2},
        example={"question": "how?", "images": ["aGk="]},
        requirements=["pandas"],
        description="d" * 9000,
        tags={"content": content, "profile": "tiny", "md5.models/tiny/m": "1"},
    )
    return replace(made, **changed)


def test_a_version_answers_holds_no_pickle_and_names_no_folder_of_this_machine(
    registry: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    made = registry.register(package("a"))
    model = mlflow.pyfunc.load_model(f"models:/{NAME}/{made.number}")
    assert model.predict([{"question": "you"}])["text"].tolist() == ["hello you 2"]
    assert model.predict([{"question": "you"}], params={"times": 3})["text"].tolist() == ["hello you 3"]
    files = [path for path in (tmp_path / "mlartifacts").rglob("*") if path.is_file()]
    assert {"MLmodel", "echo.py", "words.txt", "input_example.json"} < {path.name for path in files}
    assert [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".bin")] == []
    assert str(tmp_path) not in next(path for path in files if path.name == "MLmodel").read_text()


def test_the_same_content_is_registered_once_also_by_two_at_a_time(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = registry.register(package("a"))
    assert registry.register(package("a")).number == first.number
    looked = iter([None])  # the second process looks before the first has finished
    find = ModelRegistry.find
    monkeypatch.setattr(ModelRegistry, "find", lambda *words: next(looked, find(*words)))
    assert registry.register(package("a")).number == first.number
    assert [version.number for version in registry.versions(NAME)] == [1]


def test_a_version_knows_the_run_that_made_it(registry: ModelRegistry) -> None:
    from polite_flamingo.tracking.store import experiment_id

    client = registry._client
    parent = client.create_run(experiment_id(client))
    tags = {"kind": "stage", "md5.models/tiny/m": "1", "mlflow.parentRunId": parent.info.run_id}
    stage = client.create_run(experiment_id(client), tags=tags)
    source = registry.source_run("models/tiny/m", "1")
    assert isinstance(source, SourceRun)
    assert (source.stage, source.pipeline) == (stage.info.run_id, parent.info.run_id)
    assert registry.source_run("models/tiny/m", "2") is None
    made = registry.register(package("a", source=source))
    assert made.run == parent.info.run_id
    (output,) = client.get_run(parent.info.run_id).outputs.model_outputs
    assert client.get_logged_model(output.model_id).model_type == "echo"


@pytest.fixture
def versions(registry: ModelRegistry) -> list[Any]:
    made = [registry.register(package(content)) for content in "abc"]
    for version in made:
        registry.challenge(version)
        registry.promote(version, registry.aliased(NAME, CHAMPION), {"why": "test"})
    return made


def champion(registry: ModelRegistry) -> int:
    found = registry.aliased(NAME, CHAMPION)
    assert found is not None
    return found.number


def test_a_promoted_challenger_is_champion_and_challenger_no_more(registry: ModelRegistry, versions: list[Any]) -> None:
    assert champion(registry) == 3
    assert registry.aliased(NAME, CHALLENGER) is None
    assert registry.version(NAME, 3).tags["why"] == "test"
    assert registry.history(NAME) == [1, 2, 3]


def test_rolling_back_goes_on_to_older_champions(registry: ModelRegistry, versions: list[Any]) -> None:
    registry.roll_back(NAME, "too long")
    assert (champion(registry), registry.version(NAME, 3).tags["rolled_back.reason"]) == (2, "too long")
    registry.roll_back(NAME, "still")
    assert champion(registry) == 1
    with pytest.raises(ModelError, match="no version was champion before"):
        registry.roll_back(NAME, "further")
    registry.promote(registry.version(NAME, 3), registry.aliased(NAME, CHAMPION), {})
    assert registry.history(NAME) == [1, 3]
    assert "rolled_back" not in registry.version(NAME, 3).tags


def test_a_promotion_against_an_old_champion_is_refused(registry: ModelRegistry, versions: list[Any]) -> None:
    with pytest.raises(BusyError, match="another version became champion"):
        registry.promote(versions[0], versions[1], {})
    assert champion(registry) == 3


def test_a_kill_between_alias_and_history_loses_neither(registry: ModelRegistry, versions: list[Any]) -> None:
    client = registry._client
    client.set_registered_model_alias(NAME, CHAMPION, "1")  # a promotion that was killed
    assert registry.history(NAME) == [1, 2, 3, 1]
    client.set_registered_model_alias(NAME, CHAMPION, "3")
    client.set_registered_model_tag(NAME, HISTORY, "1,2")  # a rollback that was killed
    assert (registry.history(NAME), champion(registry)) == ([1, 2, 3], 3)


def test_a_store_that_does_not_answer_is_an_error_and_no_absence(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def gone(*_: object) -> None:
        raise MlflowException("cannot reach //me:secret@host")

    monkeypatch.setattr(registry._client, "get_model_version_by_alias", gone)
    monkeypatch.setenv(TRACKING_VARIABLE, "postgresql://me:secret@host/mlflow")
    with pytest.raises(StorageError, match="did not answer") as caught, answering_store():
        registry.aliased(NAME, CHAMPION)
    assert caught.value.where == "postgresql://host/mlflow" and "secret" not in str(caught.value)


def test_mlflow_itself_finds_the_files_of_a_store_without_a_server() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["mlflow.artifact_repository"]
    assert EntryPoint(SCHEME, points[SCHEME], "mlflow.artifact_repository").load() is artifact_repository


def test_an_unknown_version_is_named(registry: ModelRegistry) -> None:
    with pytest.raises(ModelError, match="no such version"):
        registry.version(NAME, 7)
    assert registry.versions(NAME) == []
    assert registry.aliased(NAME, CHAMPION) is None
