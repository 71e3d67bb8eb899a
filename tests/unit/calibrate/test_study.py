"""Rates, curves and suggestions against numbers that can be worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.calibrate.scored import labelled, rewrite, twins

from polite_flamingo.calibrate import figures, page
from polite_flamingo.calibrate.labels import LabelledRecord
from polite_flamingo.calibrate.rates import Resamples, corrupted_after, curve, interval, precision
from polite_flamingo.calibrate.study import StudySettings, study
from polite_flamingo.calibrate.suggest import Target, halves, suggest
from polite_flamingo.calibrate.verdicts import LabelledTable, outcomes
from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.records import Task


def draws(count: int, resamples: int = 50) -> Resamples:
    return Resamples.draw([str(i) for i in range(count)], resamples=resamples, seed=1, purpose="test")


def test_the_area_under_roc_is_the_share_of_pairs_in_the_right_order() -> None:
    suspicion = np.array([0.9, 0.8, 0.8, 0.3, 0.1, np.nan])
    wrong = np.array([True, False, True, True, False, True])
    pairs = [(a > b) + 0.5 * (a == b) for a in suspicion[[0, 2, 3]] for b in suspicion[[1, 4]]]
    found = curve(suspicion, wrong, draws(6))
    assert found is not None
    assert found.auc.value == pytest.approx(sum(pairs) / len(pairs))
    assert (found.corrupted, found.clean) == (3, 2)
    assert found.recall[-1] == found.cost[-1] == 1.0


def test_a_score_of_one_class_only_has_no_curve() -> None:
    assert curve(np.array([0.1, 0.2]), np.array([True, True]), draws(2)) is None


def test_a_useless_score_has_an_interval_around_one_half() -> None:
    rng = np.random.default_rng(0)
    found = curve(rng.random(400), rng.random(400) < 0.5, draws(400, 300))
    assert found is not None
    assert found.auc.low is not None
    assert found.auc.high is not None
    assert found.auc.low < 0.5 < found.auc.high


def test_precision_and_what_stays_corrupted_follow_from_the_prevalence() -> None:
    # of 1,000 records 100 are corrupted: 80 of them and 90 of the 900 clean are taken
    assert precision(np.float64(0.8), np.float64(0.1), 0.1) == pytest.approx(80 / 170)
    assert corrupted_after(np.float64(0.8), np.float64(0.1), 0.1) == pytest.approx(20 / 830)


def test_records_of_a_group_are_drawn_together() -> None:
    drawn = Resamples.draw(["a", "b", "a", "c"], resamples=40, seed=1, purpose="test").weights
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[0] == 1).all()
    assert drawn[1:].std() > 0


def test_an_interval_of_a_rate_holds_the_binomial_one() -> None:
    hit = np.arange(400) < 100
    drawn = draws(400, 2000)
    found = interval(drawn.rate(hit, np.ones(400, dtype=bool)), 400)
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - 1.96 * (0.25 * 0.75 / 400) ** 0.5, abs=0.01)


def test_cutting_the_wrong_paragraph_catches_a_record_and_cutting_a_right_one_loses_it() -> None:
    scores = {"clip_logits": [20.0, 5.0], "sts": 0.9, "sts_by_cut": [0.9, 0.9], "repeated_share_by_cut": [0.0, 0.0],
              "boxes_by_cut": [0, 0]}  # fmt: skip
    text = "A cat.\n\nA bus."
    mended = LabelledRecord(rewrite("mended", text=text, **scores), (True, False), "invented", "mended")
    spoilt = LabelledRecord(rewrite("spoilt", text=text, **scores), (False, True), "clean", "spoilt")
    fine = LabelledRecord(rewrite("fine", text=text, **scores), (False, False), "clean", "fine")
    table = LabelledTable.of([mended, spoilt, fine])
    chain, alone, decisions = outcomes(table, FilterSettings())
    assert (decisions.failed == -1).all()
    assert chain.removed.tolist() == [True, True, False]
    assert alone["paragraphs"].removed.tolist() == [True, True, False]
    assert not outcomes(table, FilterSettings().changed({"paragraphs.min_clip_logit": 1.0}))[0].removed.any()


def test_no_labelled_records_are_an_error() -> None:
    with pytest.raises(DataError, match="no labelled"):
        LabelledTable.of([])


def test_the_suggestion_separates_what_can_be_separated_and_leaves_the_rest_alone() -> None:
    records = [labelled(f"g{i}", wrong, sts=0.3 if wrong else 0.8) for i, wrong in enumerate([True, False] * 40)]
    start = FilterSettings().changed({"sts.min_cosine": 0.1})
    found = suggest(LabelledTable.of(records), start, Target(0.01, 0.9, 0.1))
    assert found.met
    assert found.clean_kept == 1.0
    assert found.corrupted == 0.0
    assert 0.3 < found.thresholds.sts.per_task["caption"] <= 0.8
    assert found.thresholds.nli == start.nli
    assert found.thresholds.numbers.max_changed is None


def test_a_judges_verdicts_are_searched_where_there_are_some() -> None:
    records = [
        labelled(f"j{i}{'!injected' * wrong}", wrong, judge_supported=0.5 if wrong else 1.0, judge_reason="seen")
        for i in range(40)
        for wrong in (False, True)
    ]
    found = suggest(LabelledTable.of(records), FilterSettings(), Target(0.01, 0.9, 0.2))
    assert found.met and found.thresholds.judge.min_supported == 0.75
    assert found.thresholds == FilterSettings().changed({"judge.min_supported": 0.75}), "all else stays"


def test_a_target_out_of_reach_is_said_to_be_missed_and_the_clean_are_not_given_up() -> None:
    records = [labelled(f"g{i}", i % 2 == 0, sts=0.5 + (i // 2) % 10 / 100) for i in range(200)]
    found = suggest(LabelledTable.of(records), FilterSettings(), Target(0.01, 0.9, 0.3))
    assert not found.met
    assert found.clean_kept >= 0.9


def test_twins_are_in_the_same_half() -> None:
    first, second = halves(LabelledTable.of(twins(60)))
    assert not set(first.groups) & set(second.groups)
    assert min(len(first.records), len(second.records)) > 30


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    present = {"paper": FilterSettings(), "profile": FilterSettings().changed({"sts.min_cosine": 0.6})}
    return study(LabelledTable.of(twins()), present, present["profile"], StudySettings(prevalence=0.1, resamples=50))


def test_a_study_says_what_chain_and_filters_do(report: dict[str, object]) -> None:
    json.dumps(report, allow_nan=False)
    paper, profile = report["chain"]["paper"], report["chain"]["profile"]
    assert profile["recall"]["value"] > paper["recall"]["value"]
    assert profile["clean_kept"]["value"] < paper["clean_kept"]["value"]
    assert paper["recall"]["low"] <= paper["recall"]["value"] <= paper["recall"]["high"]
    sts = next(row for row in report["filters"]["paper"] if row["filter"] == "sts")
    assert (sts["corrupted"], sts["clean"]) == (100, 100)
    assert set(report["curves"]) >= {"sts: caption", "nli: contradiction", "nli: not entailed"}
    assert report["limits"]["paper"]["sts: caption"] == 0.4


def test_examples_of_a_change_name_the_record_and_the_filter(report: dict[str, object]) -> None:
    gained = report["changes"]["gained"]
    assert gained["records"] >= len(gained["examples"]) > 0
    assert all(example["filter"] in ("sts", "nli") for example in gained["examples"])


def test_keep_rates_leave_injected_copies_out_and_fall_with_a_stricter_threshold(report: dict[str, object]) -> None:
    line = report["keep_rates"]["sts: caption"]["coco"]
    in_order = sorted(zip(line["thresholds"], line["kept"], strict=True))
    assert in_order[0][0] >= 0.5
    assert [kept for _, kept in in_order] == sorted((kept for _, kept in in_order), reverse=True)


def test_the_plots_are_drawn_and_equal_figures_give_equal_bytes(report: dict[str, object], tmp_path: Path) -> None:
    for draw in (figures.curves, figures.recalls, figures.keep_rates):
        first, second = draw(tmp_path / "a.png", report), draw(tmp_path / "b.png", report)
        assert first.read_bytes()[:4] == b"\x89PNG"
        assert first.read_bytes() == second.read_bytes()


def test_the_page_gets_its_tables_between_the_markers(report: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "calibration.md"
    file.write_text("before\n<!-- begin real -->\nstale\n<!-- end real -->\nafter\n")
    for _ in range(2):
        page.write_tables(file, "real", page.render(report), [tmp_path / "calibration" / "real_curves.png"])
    text = file.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text
    assert "(calibration/real_curves.png)" in text
    assert text.count("| sts |") == 2
    assert "Filters that took nothing: length, change" in text
    assert "paper" in text


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("nothing here\n")
    with pytest.raises(DataError, match="begin real"):
        page.write_tables(file, "real", "tables")
    assert file.read_text() == "nothing here\n"


def test_questions_are_judged_by_nli_alone() -> None:
    table = LabelledTable.of([labelled("q", True, Task.VQA, nli=[3.0, 0.0, 0.0], sts=0.0)])
    _, alone, _ = outcomes(table, FilterSettings())
    assert alone["nli"].removed.all()
    assert not alone["sts"].applies.any()
