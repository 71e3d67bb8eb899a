"""The picture of what the filters leave."""

from __future__ import annotations

from pathlib import Path

from polite_flamingo.reports.filtering.waterfall import filter_waterfall


def test_a_waterfall_of_no_records_is_drawn(tmp_path: Path) -> None:
    assert filter_waterfall(tmp_path / "d.png", 0, [("length", 0)]).read_bytes().startswith(b"\x89PNG")
