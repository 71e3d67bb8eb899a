"""A gate names what failed and the rows; each expectation of each suite can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.quality import suites
from polite_flamingo.quality.check import at_least, at_most, run_suite

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
    for part in (failed, "sts: expect_column_values_to_be_between", "section 3.3", "1 of 4 rows"):
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


def test_the_gates_of_a_profile_share_one_data_docs_site(tmp_path: Path) -> None:
    docs, store = tmp_path / "docs", tmp_path / "store"
    for name in ("raw", "distorted"):
        suite, row = GOOD[name]
        run_suite(name, _frame(row), suite, docs=docs, store=store)
    run_suite("raw", _frame(RAW, answer=""), suites.raw(), docs=docs, store=store)
    index = (docs / "index.html").read_text()
    assert "raw" in index
    assert "distorted" in index
    pages = [page for page in (docs / "validations").rglob("*.html") if page.relative_to(docs).parts[1] == "raw"]
    assert len(pages) == 1  # the last result of a gate replaces the one before
    assert "coco/train/2" in pages[0].read_text()
    assert "an annotation without an answer teaches nothing" in pages[0].read_text()
