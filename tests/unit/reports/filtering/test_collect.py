"""What the page counts, and which records it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.reports.filtering.decided import WRONG, natural, record, write

from polite_flamingo.reports.filtering.charts import histogram
from polite_flamingo.reports.filtering.collect import Scores, collect, cuts_on_axis, nli_margin
from polite_flamingo.scorers.nli import LABELS


def scores_of(values: list[float], cuts: tuple[float, ...], failed: int = 0) -> Scores:
    scores = Scores(cuts, cuts[0] if cuts else None)
    for place, value in enumerate(values):
        scores.add("coco", value, place >= failed)
    return scores


@pytest.mark.parametrize(
    ("threshold", "score"), [(["contradiction"], 3.0), (["contradiction", "neutral"], 4.0), (["entailment"], -4.0)]
)
def test_nli_has_its_threshold_at_zero_whatever_it_rejects(threshold: list[str], score: float) -> None:
    assert nli_margin(WRONG, threshold) == score
    assert cuts_on_axis("nli", threshold) == (0.0,)


@pytest.mark.parametrize(
    ("name", "threshold", "cuts"),
    [("length", [3, 400], (3.0, 400.0)), ("numbers_changed", None, ()), ("nli", [], ()), ("nli", list(LABELS), ())],
)
def test_a_threshold_is_none_one_or_two_cuts_on_the_axis(name: str, threshold: Any, cuts: tuple[float, ...]) -> None:
    assert cuts_on_axis(name, threshold) == cuts


def test_each_threshold_of_a_task_has_scores_of_its_own(tmp_path: Path) -> None:
    found = collect(write(tmp_path, natural()), 10)
    assert {key[1] for key in found.scores if key[0] == "sts"} == {"0.4", "0.85"}
    assert found.scores["sts", "0.85"].tasks == {"change"}


def test_a_kept_record_with_a_paragraph_cut_counts_as_below_the_clip_threshold(tmp_path: Path) -> None:
    passed, failed = collect(write(tmp_path, natural()), 10).scores["paragraphs", "17.0"].sources["coco"]
    assert (passed.counts, failed.counts) == ({}, {3.0: 1})


def test_a_rare_source_and_a_rare_fate_are_among_the_examples(tmp_path: Path) -> None:
    rewrites = [record(n) for n in range(200)] + [record(900, "rare"), record(901, sts=0.1)]
    pf1m = write(tmp_path, rewrites)
    shown = collect(pf1m, 20).examples
    assert len(shown) == 20
    assert {place[0] for place in shown} == {"kept", "rejected"}
    assert ("kept", 200) in shown


def test_records_nearest_to_a_threshold_are_shown_and_say_of_which(tmp_path: Path) -> None:
    rewrites = [record(n, sts=0.6 + n / 1000) for n in range(100)] + [record(500, sts=0.401), record(501, sts=0.399)]
    shown = collect(write(tmp_path, rewrites), 10).examples
    assert "sts" in shown["kept", 100]
    assert "sts" in shown["rejected", 0]


def test_there_are_as_many_examples_as_asked_for_or_all(tmp_path: Path) -> None:
    pf1m = write(tmp_path, natural())
    for count in (
        0,
        1,
        2,
        7,
        100,
    ):
        assert len(collect(pf1m, count).examples) == min(count, 7)


def test_a_histogram_counts_every_score_once() -> None:
    for values in (
        [0.5],
        [0.5] * 9,
        [0.0, 1.0],
        [3.0, 5.0, 5.0],
        [-3e6, 1e-9, 3e6],
        [i / 7 for i in range(500)],
    ):
        data = histogram(scores_of(list(values), (0.4,), failed=1))
        passed, failed = data.total()
        assert (sum(passed), sum(failed)) == (len(values) - 1, 1)
        assert data.low < data.high


def test_a_threshold_near_the_scores_lies_on_the_axis_and_a_far_one_does_not_stretch_it() -> None:
    values = [i / 100 for i in range(60)]
    assert histogram(scores_of(values, (0.8,))).high == pytest.approx(0.8)
    assert histogram(scores_of(values, (400.0,))).high < 1


def test_no_bin_lies_on_both_sides_of_the_threshold() -> None:
    values = [0.1 + i / 1000 for i in range(777)]
    passed, failed = histogram(scores_of(values, (0.4,), failed=sum(v < 0.4 for v in values))).total()
    assert sum(1 for pair in zip(passed, failed, strict=True) if all(pair)) == 0


def test_whole_numbers_have_a_bin_each() -> None:
    data = histogram(scores_of([0, 0, 1, 3], (0.0,)))
    assert (data.low, data.high, len(data.total()[0])) == (-0.5, 4.5, 5)
