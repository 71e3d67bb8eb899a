"""Bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest

from polite_flamingo.evaluate.bootstrap import NOTHING, bootstrap_mean, bootstrap_means


def test_the_interval_holds_the_mean_and_has_the_width_theory_gives() -> None:
    values = [1.0] * 120 + [0.0] * 80
    interval = bootstrap_mean(values, resamples=2000, seed=1, purpose="share")
    assert interval.value == pytest.approx(0.6)
    width = 2 * 1.96 * (0.6 * 0.4 / 200) ** 0.5
    assert interval.high - interval.low == pytest.approx(width, rel=0.1)  # type: ignore[operator]


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = list(np.random.default_rng(0).normal(size=50))

    def interval(seed: int, purpose: str = "x") -> object:
        return bootstrap_mean(values, resamples=200, seed=seed, purpose=purpose)

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)
    assert interval(1) != interval(1, purpose="y")


def test_values_that_do_not_vary_have_an_interval_of_no_width() -> None:
    interval = bootstrap_mean([0.25] * 7, resamples=100, seed=1, purpose="flat")
    assert (interval.low, interval.value, interval.high, interval.n) == (0.25, 0.25, 0.25, 7)


def test_nothing_measured_gives_no_number_and_says_so() -> None:
    assert bootstrap_mean([], resamples=100, seed=1, purpose="none") == NOTHING
    assert NOTHING.to_json() == {"value": None, "low": None, "high": None, "n": 0}


def test_figures_of_the_same_samples_are_resampled_together() -> None:
    values = np.random.default_rng(0).normal(size=40)
    first, second = bootstrap_means(np.stack([values, 1.0 - values]), resamples=300, seed=1, purpose="pair")
    assert first.low == pytest.approx(1.0 - second.high)  # type: ignore[operator]


def test_many_samples_are_resampled_in_pieces_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polite_flamingo.evaluate.bootstrap._DRAWS_AT_ONCE", 25)
    interval = bootstrap_mean([0.0, 1.0] * 5, resamples=101, seed=1, purpose="pieces")
    assert 0.0 <= interval.low < 0.5 < interval.high <= 1.0  # type: ignore[operator]
