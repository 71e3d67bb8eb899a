"""The comparison on raw annotations keeps its first half until the second is done, and trusts it by its hashes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polite_flamingo.train import tuning


def test_a_damaged_half_is_set_aside_and_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    loaded: list[bytes] = []

    class Half(tuning.Tuning):
        def stage(self, stage: str, name: str, *, raw: bool) -> dict[str, Any]:
            trained.append(stage)
            if stage == "stage2" and len(trained) < 4:
                raise KeyboardInterrupt
            return {"final_loss": 1.0}

    def save(_bundle: object, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"learned")

    monkeypatch.setattr(tuning, "save_trainables", save)
    monkeypatch.setattr(tuning, "load_trainables", lambda _, folder: loaded.append((folder / "weights").read_bytes()))
    settings: Any = SimpleNamespace(model_dump=lambda include: sorted(include))
    bundle: Any = SimpleNamespace(base_hash="b")
    machine: Any = None
    data = tmp_path / "data"
    half = Half(bundle, settings, 1, machine, data, data, run=lambda name: pytest.fail(name))
    work = tmp_path / "work"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            half.comparison(work, {"common"})
    assert (trained, loaded) == (["stage1", "stage2", "stage2"], [b"learned"])
    (kept,) = work.glob("*/weights")
    kept.write_bytes(b"lexrned")
    half.comparison(work, {"common"})
    assert (trained[3:], loaded[1:]) == (["stage1", "stage2"], [])
    assert not work.exists()
