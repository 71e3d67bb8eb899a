"""TRL's own code takes the export; skipped where it is not installed (it is no dependency)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.export.exporting import Project, several

data_utils = pytest.importorskip("trl.data_utils", reason="TRL is not installed: pip install --no-deps trl")


def test_trl_puts_every_image_into_its_place(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    out = Project(tmp_path, several()).export("messages")
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert all(data_utils.is_conversational(row) for row in rows)
    prepared = [data_utils.prepare_multimodal_messages(row["messages"], images=row["images"]) for row in rows]
    shown = [
        [part["image"].size for part in messages[0]["content"] if part["type"] == "image"] for messages in prepared
    ]
    assert shown == [[(4, 4)], [(4, 4)], [(4, 4), (4, 4)], []]
