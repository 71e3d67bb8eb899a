"""Figures of the evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from polite_flamingo.evaluate import drawing, figures
from polite_flamingo.evaluate.bootstrap import NOTHING, bootstrap_mean
from polite_flamingo.evaluate.politeness import win_rates
from polite_flamingo.reports.filtering.waterfall import filter_waterfall

REWARDS = {
    "annotation": {str(i): -2.0 + i / 10 for i in range(20)},
    "stage3": {str(i): 1.0 - i / 20 for i in range(20)},
}


def _draw_all(folder: Path) -> list[Path]:
    number = bootstrap_mean([True, False, True], resamples=20, seed=1, purpose="n").to_json()
    names = ("qa_in_domain", "qa_in_domain_exact", "qa_out_of_domain", "reward")
    models = {model: dict.fromkeys(names, number) for model in ("stage1", "stage2", "stage3", "raw")}
    return [
        figures.reward_distributions(folder / "a.png", {k: list(v.values()) for k, v in REWARDS.items()}, "T"),
        figures.win_rate_map(folder / "b.png", win_rates(REWARDS, list(REWARDS), resamples=20, seed=1)),
        figures.u_curve(folder / "c.png", models, ["stage1", "stage2", "stage3"], "raw"),
        filter_waterfall(folder / "d.png", 10, [("length", 1), ("sts", 0), ("nli", 3)]),
    ]


def test_equal_numbers_give_equal_bytes(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in _draw_all(tmp_path / "one")]
    second = [path.read_bytes() for path in _draw_all(tmp_path / "two")]
    assert first == second
    assert all(data.startswith(b"\x89PNG") for data in first)


def test_a_figure_carries_no_software_name_or_time(tmp_path: Path) -> None:
    data = filter_waterfall(tmp_path / "d.png", 3, [("length", 1)]).read_bytes()
    assert b"tEXt" not in data
    assert b"tIME" not in data


def test_the_callers_matplotlib_settings_neither_change_nor_matter(tmp_path: Path) -> None:
    import matplotlib

    plain = filter_waterfall(tmp_path / "plain.png", 3, [("length", 1)]).read_bytes()
    with matplotlib.rc_context({"font.size": 31, "lines.linewidth": 9}):
        styled = filter_waterfall(tmp_path / "styled.png", 3, [("length", 1)]).read_bytes()
        assert matplotlib.rcParams["font.size"] == 31
    assert styled == plain


def test_the_u_curve_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    nothing = {"stage1": {"reward": NOTHING.to_json()}, "raw": {}}
    assert figures.u_curve(tmp_path / "c.png", nothing, ["stage1", "stage2"], "raw").is_file()


def test_answers_of_one_reward_can_be_drawn_and_empty_kinds_are_left_out(tmp_path: Path) -> None:
    assert figures.reward_distributions(tmp_path / "a.png", {"raw": [1.0, 1.0], "rewritten": []}, "T").is_file()


@pytest.mark.parametrize("value, text", [(-0.5, "\N{MINUS SIGN}0.50"), (0.25, "0.25")])
def test_numbers_carry_a_true_minus_sign(value: float, text: str) -> None:
    assert drawing.true_minus(value, ".2f") == text
