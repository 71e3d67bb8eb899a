"""Photographs and their records on one picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PILModule
from tests.unit.filter.scoring import write_decided

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import Decision
from polite_flamingo.params.reading import load_params
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.reports import before_after

PROJECT = Path(__file__).resolve().parents[3]


def test_the_first_photographs_by_path_show_all_their_records_kept_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = load_params(PROJECT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    for name, colour in (("a.png", "red"), ("b.png", "green"), ("c.png", "blue")):
        params.image_root.mkdir(parents=True, exist_ok=True)
        PILModule.new("RGB", (40, 30), colour).save(params.image_root / name)
    drawn: list[str] = []
    monkeypatch.setattr(before_after, "_lines", lambda record, reason: drawn.append(f"{record.id} {reason}") or [])

    def decision(number: int, images: str) -> tuple[Rewrite, Decision]:
        reason = "sts: 0.1 below 0.4" if number == 3 else None
        shown = tuple(Image(f"{name}.png") for name in images)
        record = Rewrite(f"r{number}", "s", "", "mit", Task.VQA, "What color?", shown, "red", "It is red.", "stop")
        return record, Decision(reason, {}, record, ())

    write_decided(params.data / "pf1m", [decision(number, name) for number, name in enumerate("bcaab")])
    out = before_after.draw_before_after(params, 2, tmp_path / "out.png")
    assert drawn == ["r2 ", "r3 sts: 0.1 below 0.4", "r0 ", "r4 "]
    with PILModule.open(out) as picture:
        assert {(255, 0, 0), (0, 128, 0)} <= {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}

    write_decided(params.data / "pf1m", [decision(0, "")])
    with pytest.raises(DataError, match="no filtered record has an image"):
        before_after.draw_before_after(params, 2, out)
