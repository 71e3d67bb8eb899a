"""Records of real datasets: right rewrites and corrupted copies, scored by models that are put in place once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.calibrate.test_clean import write_edits

from polite_flamingo.calibrate.real import ABSENT, TRAINED, real_records
from polite_flamingo.io.shards import read_shards, write_shards
from polite_flamingo.model import origins as model_origins
from polite_flamingo.train import real_nli


def test_right_rewrites_and_copies_are_scored_and_their_models_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_edits(tmp_path, 30)
    (tmp_path / "nli").mkdir()
    data, models = tmp_path / "data", tmp_path / "models"
    put: list[str] = []

    def materialise(origin: str, name: str, folder: Path) -> None:
        put.append(f"{name} from {origin}")
        folder.mkdir(parents=True, exist_ok=True)

    def train(data: Path, folder: Path, *, encoder: str, seed: int, epochs: int) -> dict[str, float]:
        put.append(f"nli on {encoder}")
        folder.mkdir(parents=True, exist_ok=True)
        return {"accuracy": 0.9}

    def score() -> None:
        rows = [{**row, "scores": '{"clip_logits": null}'} for row in read_shards(data / "rewrites")]
        write_shards(data / "scored", rows)

    monkeypatch.setattr(model_origins, "materialise", materialise)
    monkeypatch.setattr(real_nli, "train_real_nli", train)
    origins = {"sts": "pypi:encoder", "nli": TRAINED, "clip": ABSENT}
    for seed in (3, 3):
        records, summary = real_records(tmp_path, origins, seed=seed, data=data, models=models, score=score)
    assert put == ["sts from pypi:encoder", "nli on pypi:encoder"]
    assert summary["models"] == {"sts": {"origin": "pypi:encoder"}, "nli": {"origin": TRAINED, "accuracy": 0.9}}
    clean, copies = summary["made"]["clean"], summary["made"]["copies"]
    assert (clean, len(records)) == (30, clean + copies)
    assert sum(record.corrupted[0] for record in records) == copies > 20
    real_records(tmp_path, {**origins, "nli": "packaged"}, seed=3, data=data, models=models, score=score)
    assert put[2:] == ["nli from packaged"]

    (models / "backbones" / "nli" / "weights").write_bytes(b"flipped")
    real_records(tmp_path, {**origins, "nli": "packaged"}, seed=3, data=data, models=models, score=score)
    assert put[3:] == ["nli from packaged"], "what a disk has damaged is made again"
