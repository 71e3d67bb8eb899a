"""A gate names what failed and the rows; each expectation of each suite can fail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.quality import suites, validator
from polite_flamingo.quality.check import GateResult, at_least, at_most
from polite_flamingo.quality.validator import Site, Validator
from polite_flamingo.quality.versions import notes

RAW = {
    "task": "caption",
    "licence": "CC BY 4.0",
    "images": '["coco/train2014/1.png"]',
    "instruction": "Describe the image.",
    "answer": "a red circle",
    "images_fit_task": True,
    "boxes_normalised": True,
}
PAIR = {
    "task": "caption",
    "split": "train",
    "strategy": "text_noise",
    "drafted": "a rde circle",
    "revised": "A red circle.",
    "changed": True,
    "held_out_apart": True,
}
REWRITE = {"task": "vqa", "finish_reason": "stop", "raw_answer": "red", "rewritten": "It is red."}
KEPT = {
    "task": "caption",
    "licence": "CC BY 4.0",
    "images": "[]",
    "instruction": "Describe the image.",
    "rewritten": "A red circle.",
    "words": 3,
    "sts": 0.8,
    "nli": "entailment",
    "leaked_boxes": 0,
    "probe": False,
}
PF1M = suites.pf1m(max_words=400, min_cosine=0.4, max_boxes=0, rejected_nli=["contradiction"])
GOOD = {"raw": (suites.raw(), RAW), "distorted": (suites.distorted(), PAIR), "rewritten": (suites.rewritten(), REWRITE)}
GOOD["pf1m"] = (PF1M, KEPT)


VALIDATOR = Validator()


def run_suite(name: str, frame: pd.DataFrame, suite: Sequence[suites.Expectation]) -> GateResult:
    return VALIDATOR.run(name, frame, suite)


def _frame(row: dict[str, Any], count: int = 4, **broken: Any) -> pd.DataFrame:
    rows = [{"id": f"coco/train/{number}", **row} for number in range(count)]
    rows[2].update(broken)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_pass(name: str) -> None:
    suite, row = GOOD[name]
    outcome = run_suite(name, _frame(row), suite)
    assert outcome.failed == []
    assert outcome.to_json()["passed"] is True


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("raw", "id", "coco/train/1"),
        ("raw", "id", "no-slashes"),
        ("raw", "task", "poetry"),
        ("raw", "licence", " "),
        ("raw", "images", '["/etc/passwd"]'),
        ("raw", "images", '["coco/../../secret.png"]'),
        ("raw", "images", '["C:\\\\secret.png"]'),
        ("raw", "instruction", ""),
        ("raw", "answer", "\n"),
        ("raw", "images_fit_task", False),
        ("raw", "boxes_normalised", False),
        ("distorted", "split", "test"),
        ("distorted", "strategy", "other"),
        ("distorted", "drafted", ""),
        ("distorted", "revised", " "),
        ("distorted", "changed", False),
        ("distorted", "held_out_apart", False),
        ("distorted", "drafted", "x (Revised Response): y"),
        ("rewritten", "finish_reason", "crash"),
        ("rewritten", "raw_answer", ""),
        ("rewritten", "rewritten", ""),
        ("rewritten", "rewritten", "### Human: hello"),
        ("pf1m", "licence", ""),
        ("pf1m", "rewritten", "see <image>"),
        ("pf1m", "words", 401),
        ("pf1m", "words", 0),
        ("pf1m", "sts", 0.39),
        ("pf1m", "nli", "contradiction"),
        ("pf1m", "leaked_boxes", 1),
        ("pf1m", "probe", True),
    ],
)
def test_one_broken_row_fails_its_column_and_is_named(name: str, column: str, value: Any) -> None:
    suite, row = GOOD[name]
    frame = _frame(row, **{column: value})
    outcome = run_suite(name, frame, suite)
    assert {finding.column for finding in outcome.failed} == {column}
    named = [shown for finding in outcome.failed for shown in finding.rows]
    assert str(frame["id"][2]) in {row.id for row in named}


def test_scores_that_do_not_apply_are_left_out() -> None:
    assert run_suite("pf1m", _frame(KEPT, sts=None, nli=None), PF1M).failed == []


def test_a_rewriter_that_hardly_stops_fails() -> None:
    frame = pd.concat([_frame(REWRITE, 4), _frame({**REWRITE, "finish_reason": "length"}, 6)], ignore_index=True)
    frame["id"] = [f"vqav2/train/{number}" for number in range(10)]
    (finding,) = run_suite("rewritten", frame, suites.rewritten()).failed
    assert (finding.column, finding.unexpected) == ("finish_reason", 6)


def test_the_error_names_expectation_reason_and_rows_with_values(tmp_path: Path) -> None:
    outcome = run_suite("pf1m", _frame(KEPT, sts=0.1234), PF1M)
    with pytest.raises(QualityError) as caught:
        outcome.require(tmp_path / "index.html")
    message = str(caught.value)
    failed = f"gate 'pf1m' failed 1 of {len(PF1M)} checks"
    for part in (failed, "sts: expect_column_values_to_be_between", "section 4.2", "1 of 4 rows"):
        assert part in message
    assert "coco/train/2: '0.1234'" in message
    assert str(tmp_path / "index.html") in message


def test_no_row_at_all_fails() -> None:
    frame = pd.DataFrame(columns=["id", *RAW])
    assert [check.passed for check in run_suite("raw", frame, suites.raw()).checks] == [False]


def test_a_frame_without_a_column_is_an_error_not_a_pass() -> None:
    with pytest.raises(DataError, match="licence"):
        run_suite("raw", _frame(RAW).drop(columns="licence"), suites.raw())


def test_shares_fail_on_the_wrong_side_only() -> None:
    assert at_most("share", 0.05, 0.05, "because").passed
    assert not at_most("share", 0.0501, 0.05, "because").passed
    assert at_least("share", 0.3, 0.3, "because").passed
    assert not at_least("share", 0.29, 0.3, "because").passed


LOADED = re.compile(r"""(?:<(?:script|img|link|iframe)[^>]*(?:src|href)=|url\(|@import)\s*['"]?([^'" >)]*)""")


def _checked(folder: Path, run: str, **frames: pd.DataFrame) -> dict[str, Path]:
    suites_run = Validator(Site(folder / "docs", folder / "store", run))
    for name, frame in frames.items():
        suites_run.run(name, frame, GOOD[name][0])
    return suites_run.publish()


def _pages(folder: Path, suite: str) -> list[Path]:
    return sorted((folder / "docs" / "validations" / suite).rglob("*.html"))


def test_the_data_docs_keep_the_results_of_all_runs_of_a_profile(tmp_path: Path) -> None:
    _checked(tmp_path, "monday", raw=_frame(RAW), distorted=_frame(PAIR))
    last = _checked(tmp_path, "tuesday", raw=_frame(RAW, answer=""))
    assert [len(_pages(tmp_path, name)) for name in ("raw", "distorted")] == [2, 1]
    index = (tmp_path / "docs" / "index.html").read_text()
    assert index.count("monday") >= 2
    assert "tuesday" in index
    page = last["raw"].read_text()
    assert last["raw"] in _pages(tmp_path, "raw")
    assert "coco/train/2" in page
    assert "an annotation without an answer teaches nothing" in page


def test_only_the_last_runs_of_a_suite_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validator, "KEPT_RUNS", 2)
    for run in ("monday", "tuesday", "wednesday"):
        _checked(tmp_path, run, raw=_frame(RAW))
    assert {page.relative_to(tmp_path / "docs").parts[2] for page in _pages(tmp_path, "raw")} == {
        "tuesday",
        "wednesday",
    }
    assert "monday" not in (tmp_path / "docs" / "index.html").read_text()


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    foreign = "<img src='https://example.org/x.png'><script>alert(1)</script>"
    _checked(tmp_path, "run", raw=_frame(RAW, id=foreign, task=foreign, licence=""))
    pages = list((tmp_path / "docs").rglob("*.html"))
    assert len(pages) == 3
    for page in pages:
        text = page.read_text()
        loaded = re.findall(
            r"(?:<(?:script|img|link|iframe)[^>]*(?:src|href)=|url\(|@import)\s*['\"]?([^'\" >)]*)", text
        )
        assert set(loaded) == {"data:,"}, page
    assert [path.name for path in tmp_path.rglob("static")] == []


def test_pages_of_older_templates_are_written_anew(tmp_path: Path) -> None:
    _checked(tmp_path, "monday", raw=_frame(RAW))
    (old,) = _pages(tmp_path, "raw")
    old.write_text("https://cdn.example.org/bootstrap.css")
    (tmp_path / "docs" / ".style").write_text("of an older version")
    _checked(tmp_path, "tuesday", raw=_frame(RAW))
    assert "cdn.example.org" not in old.read_text()


def test_a_suite_says_what_changed_with_which_run(tmp_path: Path) -> None:
    notes(tmp_path, ["a", "b"], "monday")
    notes(tmp_path, ["a", "b"], "tuesday")
    assert notes(tmp_path, ["a", "c"], "wednesday") == [
        "Version 2, since run wednesday: added c; removed b",
        "Version 1, since run monday: 2 expectations",
    ]


def test_files_of_great_expectations_torn_by_a_kill_stop_no_later_run(tmp_path: Path) -> None:
    _checked(tmp_path, "monday", raw=_frame(RAW))
    for file in (tmp_path / "store" / "gx").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    page = _checked(tmp_path, "tuesday", raw=_frame(RAW))["raw"]
    assert page.is_file()
    assert "tuesday" in (tmp_path / "docs" / "index.html").read_text()
