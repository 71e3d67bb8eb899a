"""Intervals, paired differences, Holm's correction, strengths: against what is known or computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polite_flamingo.benchmarks.intervals import Ratio, clusters_of, difference, draw_figures, holm
from polite_flamingo.benchmarks.strengths import compare, strengths

OPTIONS = {"resamples": 400, "seed": 1, "purpose": "set"}


def _mean(values: np.ndarray) -> Ratio:
    return Ratio(values, np.ones(values.size))


def test_questions_of_one_image_count_as_one_draw() -> None:
    rng = np.random.default_rng(0)
    per_image = rng.integers(0, 2, 100).astype(float)
    values = np.repeat(per_image, 20)  # every image's twenty questions have one outcome
    clustered = draw_figures({("m", "f"): [_mean(values)]}, np.repeat(np.arange(100), 20), **OPTIONS)["m", "f"]
    single = draw_figures({("m", "f"): [_mean(values)]}, np.arange(2000), **OPTIONS)["m", "f"]
    assert clustered.draws.std() == pytest.approx(0.05, rel=0.15)  # 0.5 / sqrt(100)
    assert single.draws.std() == pytest.approx(0.05 / math.sqrt(20), rel=0.15)


def test_paired_differences_are_narrower_than_the_figures_and_seeds_widen_them() -> None:
    rng = np.random.default_rng(0)
    ours = rng.random(300)
    figures = draw_figures({("a", "f"): [_mean(ours)], ("b", "f"): [_mean(ours - 0.02)]}, np.arange(300), **OPTIONS)
    told = difference(figures["a", "f"], figures["b", "f"])
    assert (told["low"], told["high"]) == (pytest.approx(0.02), pytest.approx(0.02))
    seeds = draw_figures({("a", "f"): [_mean(ours - 0.3), _mean(ours + 0.3)]}, np.arange(300), **OPTIONS)["a", "f"]
    assert seeds.value == pytest.approx(ours.mean()) and seeds.draws.std() > 3 * figures["a", "f"].draws.std()


def test_a_ratio_is_of_sums_and_items_without_image_stand_alone() -> None:
    ratio = Ratio(np.array([1.0, 0.0, np.nan]), np.array([2.0, 4.0, 0.0]))
    drawn = draw_figures({("m", "f"): [ratio]}, clusters_of(["x", "x", ""]), **OPTIONS)["m", "f"]
    assert (drawn.value, drawn.n) == (pytest.approx(1 / 6), 2)
    assert clusters_of(["", "a", "", "a"]).tolist() == [0, 1, 2, 1]


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_strengths_explain_the_wins_they_were_made_of() -> None:
    true = np.array([0.8, 0.1, -0.9])
    odds = 1 / (1 + np.exp(true[None, :] - true[:, None]))
    assert strengths(100_000 * odds[None])[0] == pytest.approx(true, abs=1e-3)


def test_who_wins_always_has_a_finite_strength_and_ties_are_halves() -> None:
    rewards = {"a": np.array([2.0, 2.0, 1.0, np.nan]), "b": np.array([1.0, 1.0, 1.0, 5.0])}
    told = compare(rewards, np.arange(4), resamples=50, seed=0, purpose="x")
    assert (told["n"], told["matrix"][0][1]) == (3, pytest.approx(2.5 / 3, abs=1e-6))
    assert math.isfinite(told["strengths"]["a"]["high"])
