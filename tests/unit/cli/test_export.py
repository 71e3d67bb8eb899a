"""`polite-flamingo export`, and the page that explains it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.unit.export.exporting import REPORT, several, write_kept

from polite_flamingo import cli
from polite_flamingo.export.formats import FORMATS
from polite_flamingo.io.text import write_json
from polite_flamingo.records import Sample
from polite_flamingo.sources import catalogue, load_source
from polite_flamingo.sources.forms.mapping import KEYS

PROJECT = Path(__file__).resolve().parents[3]
PAGE = (PROJECT / "docs" / "tables_and_exports.md").read_text(encoding="utf-8")


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which the stage `filter` of the profile tiny has run."""
    (tmp_path / "configs" / "profiles").mkdir(parents=True)
    for name in ("params.yaml", "configs/profiles/tiny.yaml"):
        (tmp_path / name).write_text((PROJECT / name).read_text())
    write_kept(tmp_path / "data/tiny/pf1m", several())
    write_json(tmp_path / "reports/tiny/filter.json", REPORT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_export_writes_a_folder_with_a_card(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "llava", "--profile", "tiny"]) == 0
    summary = json.loads(capsys.readouterr().out)
    out = finished / "data/tiny/exports/llava"
    assert (summary["records"], summary["out"]) == (4, str(out))
    assert "| profile | tiny |" in (out / "README.md").read_text()


def test_export_leaves_licences_out_and_writes_elsewhere(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "pf1m", "--permissive-only", "--out", "given"]) == 0
    assert json.loads(capsys.readouterr().out)["restricted"] == {"none stated": 1}
    assert len(json.loads((finished / "given/pf1m.json").read_text(encoding="utf-8"))) == 3


def test_a_wrong_format_and_a_missing_stage_are_explained(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "mesages"]) == cli.USER_ERROR
    assert "did you mean 'messages'" in capsys.readouterr().err
    (finished / "reports/tiny/filter.json").unlink()
    assert cli.main(["export", "llava"]) == cli.USER_ERROR
    assert "`polite-flamingo run` writes" in capsys.readouterr().err


def test_the_page_names_every_format_reader_and_key() -> None:
    own = [name for name, entry in catalogue().items() if entry.group == "own" and name != "table"]
    assert all(f"| `{name}` |" in PAGE for name in [*FORMATS, *own])
    assert all(f"`{key}`" in PAGE for key in KEYS)


def test_the_example_of_the_page_works(tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    folder.mkdir()
    for language, name in (("csv", "questions.csv"), ("yaml", "mapping.yaml")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
        (folder / name).write_text(block, encoding="utf-8")
    samples = list(load_source("table").read(tmp_path, "birds", "train", seed=1))
    assert [s.id for s in samples if isinstance(s, Sample)] == ["table/train/birds/1", "table/train/birds/2"]
