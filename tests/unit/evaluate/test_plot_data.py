"""The tables that DVC draws."""

from __future__ import annotations

from pathlib import Path

from polite_flamingo.evaluate.plot_data import write_rewards, write_u_curve

NUMBER = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}


def test_rewards_are_shares_of_bins_that_begin_and_end_at_nothing(tmp_path: Path) -> None:
    path = write_rewards(tmp_path / "rewards.csv", {"raw": [-0.1, 0.1, 0.2, 0.24], "rewritten": []})
    assert path.read_text().splitlines() == [
        "answers,reward,share",
        "raw,-0.375,0.0",
        "raw,-0.125,0.25",
        "raw,0.125,0.75",
        "raw,0.375,0.0",
    ]


def test_the_u_has_a_row_per_model_and_axis_that_was_measured(tmp_path: Path) -> None:
    models = {"raw": {"reward": {**NUMBER, "value": None}}, "stage1": {"qa_in_domain": NUMBER, "reward": NUMBER}}
    path = write_u_curve(tmp_path / "u_curve.csv", models)
    assert path.read_text().splitlines() == [
        "model,axis,value,low,high",
        "stage1,understanding,0.5,0.4,0.6",
        "stage1,politeness,0.5,0.4,0.6",
    ]
