"""`polite-flamingo filtering-report`, and what stage `filter` keeps of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.unit.reports.filtering.decided import natural, write

from polite_flamingo.cli import main

PROJECT = Path(__file__).resolve().parents[4]


@pytest.fixture
def decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "tiny").mkdir(parents=True)
    write(tmp_path / "data" / "tiny", natural())
    return tmp_path


def test_the_page_lies_beside_the_other_reports(decided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filtering-report"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = decided / "reports" / "tiny" / "filtering.html"
    assert told == {
        "page": "reports/tiny/filtering.html", "records": 7, "examples": 7, "images": 1, "bytes": page.stat().st_size
    }  # fmt: skip


def test_the_page_goes_where_it_is_asked_for_with_as_many_examples(
    decided: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["filtering-report", "--out", "elsewhere/page.html", "--examples", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 2
    assert (decided / "elsewhere" / "page.html").is_file()
    assert not (decided / "reports").exists()


def test_a_number_of_examples_is_a_count(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (
        "-1",
        "many",
        "1.5",
    ):
        assert main(["filtering-report", "--examples", number]) == 2
        assert "is no count: 0 or more" in capsys.readouterr().err


def test_before_any_filtering_the_verb_names_the_next_step(decided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(decided / "data" / "tiny" / "pf1m")
    assert main(["filtering-report"]) == 2
    assert "run `polite-flamingo run --until filter`" in capsys.readouterr().err
