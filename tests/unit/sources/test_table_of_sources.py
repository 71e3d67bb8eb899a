"""The table of all datasets: complete, and the page in docs/ says the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.unit.cases import case

from polite_flamingo import cli
from polite_flamingo.fetch import find_state
from polite_flamingo.records import Image
from polite_flamingo.sources import catalogue
from polite_flamingo.sources.table_of_sources import facts, page, render

PROJECT = Path(__file__).resolve().parents[3]


def test_the_page_is_up_to_date() -> None:
    written = (PROJECT / "docs" / "sources.md").read_text(encoding="utf-8")
    assert written == page(), "run python -m polite_flamingo.sources.table_of_sources docs/sources.md"


def test_the_page_has_one_row_per_dataset() -> None:
    names = re.findall(r"^\| `(\w+)` \|", page(), flags=re.MULTILINE)
    assert names == list(catalogue())


def test_every_row_of_the_page_has_as_many_cells_as_its_head() -> None:
    lines = [line for line in page().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {10}


def test_every_entry_says_where_its_files_come_from_and_go_to() -> None:
    for name, entry in catalogue().items():
        with case(name):
            assert entry.files or entry.manual or entry.group == "own"
            assert entry.home.startswith("https://") or entry.group == "own"
            Image(entry.folder)
            for remote in entry.files:
                Image(remote.to)
                assert remote.url.startswith(("https://", "http://"))
                assert remote.md5 is None or re.fullmatch(r"[0-9a-f]{32}", remote.md5)
                assert remote.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", remote.sha256)
            assert len({remote.to for remote in entry.files}) == len(entry.files)


def test_every_entry_tells_its_splits_and_whether_commercial_use_is_allowed() -> None:
    for name, entry in catalogue().items():
        with case(name):
            assert entry.permissive in (True, False, "unknown")
            assert entry.splits or entry.group == "own"
            assert all(count is None or count > 0 for count in entry.splits.values())


def test_no_annotation_for_academic_or_noncommercial_use_counts_as_permissive() -> None:
    bound = re.compile(r"^[^;]*(BY-NC|non-?commercial|academic|research)", re.IGNORECASE)  # images come after a ";"
    rows = [facts(name) for name in catalogue()]
    assert [row["name"] for row in rows if row["permissive"] is True and bound.search(row["licence"])] == []


def test_looking_for_datasets_in_empty_folders_finds_and_writes_nothing(tmp_path: Path) -> None:
    for entry in catalogue().values():
        (tmp_path / entry.folder).mkdir(parents=True, exist_ok=True)
    states = {name: find_state(entry, tmp_path).state for name, entry in catalogue().items()}
    assert states == dict.fromkeys(catalogue(), "absent")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_verb_shows_a_line_per_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sources", "--data-root", str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "task", "commercial", "state", "rows", "licence"]
    assert [line.split()[0] for line in lines] == list(catalogue())
    assert all(" absent " in line for line in lines)


def test_the_verb_gives_everything_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "aokvqa"
    folder.mkdir()
    (folder / "aokvqa_v1p0_val.json").write_text("[]")
    assert cli.main(["sources", "--json", "--data-root", str(tmp_path)]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(catalogue())
    row = rows["aokvqa"]
    assert (row["state"], row["splits_found"]) == ("partial", ["val"])
    assert (row["licence"], row["permissive"], row["tasks"]) == ("Apache-2.0", True, ["vqa"])
    assert row["splits"]["train"] == 17056


def test_long_cells_are_cut_in_the_terminal_only() -> None:
    row = {**facts("aokvqa"), "state": "absent", "name": "n" * 99}
    assert "n" * 35 + "…" in render([row])
    assert "n" * 37 not in render([row])
