"""``rescore``: published scores beside ours."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cases import case

from polite_flamingo.cli import main
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.evaluate.rescore import parse_scorers, render, rescore

RECORD = {
    "input": "What is it?<img_path>a.png<img_path>",
    "output": "The circle is red.",
    "rouge_score": 0.4,
    "nli_similarity": [0.1, 0.2, 0.3],
    "original": "red",
}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def again(file: Path, names: str = "rouge", **folders: Path) -> dict[str, Any]:
    return rescore(file, parse_scorers(names), folders=folders, image_root=file.parent, device="cpu")


def test_a_record_a_list_and_lines_are_read(tmp_path: Path) -> None:
    for name, text in [
        ("a.json", json.dumps(RECORD, indent=1)),
        ("a.json", json.dumps([RECORD, RECORD], indent=1)),
        ("a.jsonl", f"{json.dumps(RECORD)}\n\n{json.dumps(RECORD)}\n"),
    ]:
        with case(name, text):
            report = again(write(tmp_path / name, text))
            assert report["columns"]["rouge_l"]["equal"] == 1.0
            assert report["records"] == text.count('"output"')


def test_a_difference_is_shown(tmp_path: Path) -> None:
    report = again(write(tmp_path / "a.json", json.dumps({**RECORD, "rouge_score": 0.5})))
    assert report["columns"]["rouge_l"]["largest_difference"] == 0.1
    assert "0.5000  0.4000" in render(report)


def test_rouge_is_of_the_text_before_the_cut(tmp_path: Path) -> None:
    cut = {**RECORD, "original": "red star", "filtered_paragraphs": [[3.0, "It is a star."]]}
    report = again(write(tmp_path / "a.json", json.dumps(cut)))
    assert report["first"][0]["scores"]["rouge_l"]["recomputed"] == pytest.approx(2 * 2 / (8 + 2), abs=1e-4)


def test_a_model_gives_its_column(tmp_path: Path, nli_folder: Path) -> None:
    report = again(write(tmp_path / "a.json", json.dumps(RECORD)), "nli,rouge", nli=nli_folder)
    assert report["columns"]["nli"]["records"] == 1
    assert "nli" in render(report)


def test_a_file_that_holds_no_records_is_named(tmp_path: Path) -> None:
    for text in ["", "{", "[1]", '[{"input": "a"}]', f"{json.dumps(RECORD)}\n{{"]:
        with case(text), pytest.raises(DataError, match=r"a\.json"):
            again(write(tmp_path / "a.json", text))


def test_an_unknown_scorer_is_suggested() -> None:
    with pytest.raises(ConfigError, match="rouge"):
        parse_scorers("rogue")


@pytest.mark.real_data
def test_the_published_record_has_its_published_rouge_score(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA") or "absent") / "pf1m_record.json"
    if not file.is_file():
        pytest.skip("POLITE_FLAMINGO_REAL_DATA names no folder with pf1m_record.json")
    assert main(["rescore", str(file), "--scorers", "rouge", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["first"][0]["scores"]["rouge_l"]
    assert found == {"published": 0.2833, "recomputed": 0.2833}
