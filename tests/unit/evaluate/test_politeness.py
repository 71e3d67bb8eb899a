"""Win rates by reward."""

from __future__ import annotations

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.politeness import win_rates

REWARDS = {
    "polite": {"a": 2.0, "b": 1.0, "c": 3.0, "d": 0.0},
    "terse": {"a": 1.0, "b": 1.0, "c": 4.0, "d": -1.0},
}


def test_the_share_of_wins_counts_ties_half() -> None:
    rates = win_rates(REWARDS, ["polite", "terse"], resamples=50, seed=1)
    assert rates.matrix[0][1] == pytest.approx((1 + 0.5 + 0 + 1) / 4)


def test_a_cell_and_its_mirror_sum_to_one_and_the_diagonal_is_a_half() -> None:
    rates = win_rates(REWARDS, ["polite", "terse"], resamples=50, seed=1)
    assert rates.matrix[0][1] + rates.matrix[1][0] == pytest.approx(1.0)
    assert rates.low[0][1] + rates.high[1][0] == pytest.approx(1.0)
    assert rates.matrix[0][0] == rates.matrix[1][1] == 0.5


def test_rows_are_matched_by_sample_not_by_position() -> None:
    shuffled = {"polite": dict(reversed(REWARDS["polite"].items())), "terse": REWARDS["terse"]}
    order = ["polite", "terse"]
    assert win_rates(shuffled, order, resamples=9, seed=1) == win_rates(REWARDS, order, resamples=9, seed=1)


def test_samples_only_one_of_them_answered_are_left_out() -> None:
    rewards = {"polite": {"a": 2.0, "x": 9.0}, "terse": {"a": 1.0, "y": 9.0}}
    rates = win_rates(rewards, ["polite", "terse"], resamples=9, seed=1)
    assert rates.n == 1
    assert rates.matrix[0][1] == 1.0


def test_models_without_a_common_sample_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="no sample was answered by every model"):
        win_rates({"a": {"x": 1.0}, "b": {"y": 1.0}}, ["a", "b"], resamples=9, seed=1)
