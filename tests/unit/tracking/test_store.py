"""Files lie beside the database, wherever that is; a copied project writes into itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.environment import PIPELINE_VARIABLE, TRACKING_VARIABLE
from polite_flamingo.errors import DataError
from polite_flamingo.tracking import mlflow as tracking
from polite_flamingo.tracking import store, view
from polite_flamingo.tracking.base import Work


def _files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.suffix != ".db"}


@pytest.fixture
def original(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without runs."""
    monkeypatch.delenv(TRACKING_VARIABLE, raising=False)
    monkeypatch.setenv(PIPELINE_VARIABLE, "original")
    root = tmp_path / "original"
    root.mkdir()
    shutil.copy(empty_store, root)
    monkeypatch.chdir(root)
    return root


def test_a_copied_project_writes_into_the_copy_alone_and_has_its_past(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # an experiment as earlier versions made it, whose files have a fixed folder
    location = (original / "mlruns").as_uri()
    client = store.open_client()
    client.create_experiment(store.EXPERIMENT, artifact_location=location)
    with tracking.stage_run(Work("filter", "tiny", {"seed": 1})):
        pass
    before = _files(original)
    assert any(name.startswith("mlartifacts/") for name in before)
    assert not (original / "mlruns").exists()
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv(PIPELINE_VARIABLE, "copy")
    with tracking.stage_run(Work("filter", "tiny", {"seed": 2}, {"seed": 2})) as tracker:
        (copy / "figure.png").write_bytes(b"png")
        tracker.shown(Path("figure.png"))
    assert _files(original) == before
    assert len(_files(copy) - before) >= 4  # figure.png, twice as an artifact, parameters
    client = store.open_client()
    runs = client.search_runs([store.experiment_id(client)], "tags.kind = 'pipeline'")
    parameters = [store.load_json(client, run.info.run_id, "parameters.json") for run in runs]
    assert parameters == [{"seed": 2}, {"seed": 1}]
    assert "| seed | 1 | 2 (+1) |" in runs[0].data.tags["mlflow.note.content"]


def test_the_earlier_experiment_keeps_its_runs_under_another_name(original: Path) -> None:
    client = store.open_client()
    old = client.create_experiment(store.EXPERIMENT, artifact_location=(original / "mlruns").as_uri())
    new = store.experiment_id(client)
    assert new != old
    assert "files in a fixed folder" in client.get_experiment(old).name
    assert store.experiment_id(client) == new


@pytest.mark.parametrize("copy", [".dvc/tmp/exps/standalone/tmpx", ".work/projects/laptop"])
def test_a_copy_that_dvc_works_in_records_in_the_project(original: Path, monkeypatch: Any, copy: str) -> None:
    (original / copy).mkdir(parents=True)
    monkeypatch.chdir(original / copy)
    assert store.tracking_uri() == f"sqlite:///{original / 'mlflow.db'}"
    assert store.artifact_folder(store.tracking_uri()) == original / "mlartifacts"


def test_a_servers_files_go_through_the_server() -> None:
    assert store.artifact_folder("http://mlflow.example:5000") is None
    proxied = store.artifact_repository("mlflow-artifacts:/x/y", "http://mlflow.example:5000")
    assert proxied.artifact_uri.startswith("http://mlflow.example:5000/")


def test_no_name_leads_out_of_the_folder(original: Path) -> None:
    with pytest.raises(DataError, match="leads out"):
        store.artifact_repository("mlflow-artifacts:/../../etc", f"sqlite:///{original}/mlflow.db")


def test_the_saved_view_has_columns_for_what_differs_the_newest_first() -> None:
    class Client:
        def __init__(self) -> None:
            self.tags = {view.TAG: view.view(["seed"])}

        def get_experiment(self, _: str) -> Any:
            return self

        def set_experiment_tag(self, _: str, key: str, value: str) -> None:
            self.tags[key] = value

    client: Any = Client()
    view.show_columns(client, "1", ["filter.sts.min_cosine"])
    state = json.loads(json.loads(client.tags[view.TAG])["state"])
    assert state["selectedColumns"][:2] == ["params.`filter.sts.min_cosine`", "params.`seed`"]
    assert "metrics.`stage3.reward`" in state["selectedColumns"]
