"""Tables of the Hugging Face library: its columns, its folders, its hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.sources.tables import PNG, STORED, plan, read, write_parquet

from polite_flamingo.errors import DataError


def test_numbers_of_classes_become_their_names(root) -> None:
    plan(root, file="*.parquet", image=None, question={"text": "Which bird?"}, answer="label")
    features = {"label": {"names": ["wren", "robin"], "_type": "ClassLabel"}}
    stored = json.dumps({"info": {"features": features}})
    write_parquet(root.path / "birds" / "a.parquet", [{"label": 1}, {"label": 9}], huggingface=stored)
    (sample,), (reject,) = read(root)
    assert sample.response == "robin"
    assert reject.reason == "'label' is empty"


def test_a_dataset_saved_by_the_hugging_face_library_is_read_by_split(root) -> None:
    datasets = pytest.importorskip("datasets")
    plan(root, file=None, saved="disk", image="pic")
    features = datasets.Features({"q": datasets.Value("string"), "a": datasets.ClassLabel(names=["no", "yes"])})
    features["pic"] = datasets.Image()
    rows = [{"q": "A bird?", "a": 1, "pic": {"bytes": PNG, "path": None}}]
    parts = {name: datasets.Dataset.from_list(rows * n, features=features) for n, name in ((2, "train"), (1, "val"))}
    datasets.DatasetDict(parts).save_to_disk(str(root.path / "birds" / "disk"))
    train, _ = read(root)
    (val,), _ = read(root, "val")
    assert len(train) == 2
    assert (val.response, val.images[0].path, val.split) == ("yes", STORED, "val")
    with pytest.raises(DataError, match="no such split"):
        read(root, "test")


def test_a_damaged_saved_dataset_is_an_error_and_no_crash(root) -> None:
    datasets = pytest.importorskip("datasets")
    plan(root, file=None, saved="disk", image=None)
    datasets.Dataset.from_list([{"q": "A?", "a": "B."}] * 50).save_to_disk(str(root.path / "birds" / "disk"))
    (file,) = (root.path / "birds" / "disk").glob("*.arrow")
    sound = file.read_bytes()
    for place in range(0, len(sound), 97):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        try:
            read(root)
        except DataError:
            continue


def test_a_saved_dataset_names_no_files_elsewhere(root) -> None:
    for names in [["../x.arrow"], "x"]:
        with root.case(names):
            plan(root, file=None, saved="disk")
            files = [{"filename": name} for name in names] if isinstance(names, list) else names
            root.json("birds/disk/state.json", {"_data_files": files})
            with pytest.raises(DataError, match=r"names files elsewhere|holds no list '_data_files'"):
                read(root)


def test_a_dataset_of_the_hub_is_read_at_its_revision(root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, commit = tmp_path / "hub", "0" * 39 + "1"
    snapshot = cache / "datasets--someone--birds" / "snapshots" / commit / "data"
    snapshot.mkdir(parents=True)
    write_parquet(snapshot / "train-0.parquet", [{"q": "What?", "a": "A wren.", "pic": PNG}])
    write_parquet(snapshot / "test-0.parquet", [{"q": "What?", "a": "An owl.", "pic": PNG}])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    plan(root, hub=f"someone/birds@{commit}", file="data/{split}-*.parquet", image="pic")
    (train,), _ = read(root)
    (test,), _ = read(root, "test")
    both, _ = read(root, "all")
    assert (train.response, test.response, len(both)) == ("A wren.", "An owl.", 2)
    plan(root, hub="someone/birds@" + "2" * 40, image="pic")
    with pytest.raises(DataError, match="hf download --repo-type dataset --revision 22222"):
        read(root)
