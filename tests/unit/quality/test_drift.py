"""Drift: how many records lie elsewhere than in the accepted run, and how many may."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from polite_flamingo.quality.drift import ALL, Figures, Shift
from polite_flamingo.quality.settings import Drift


def _figures(values: object, source: str = "coco", **categories: object) -> Figures:
    numbers = pd.Series(np.asarray(values, dtype=float))
    named = {name: pd.Series(column) for name, column in categories.items()}
    return Figures(pd.Series([source] * len(numbers)), named, {"words": numbers})


def _shift(before: Figures, now: Figures, figure: str = "words", **settings: float) -> Shift | None:
    found = [shift for shift in now.shifts(before.spreads(), Drift(**settings)) if shift.figure == figure]  # type: ignore[arg-type]
    return found[0] if found else None


def _moved(before: Figures, now: Figures) -> float:
    shift = _shift(before, now)
    assert shift is not None
    return shift.moved


def test_the_same_records_have_not_moved() -> None:
    values = np.random.default_rng(0).normal(size=500)
    assert _moved(_figures(values), _figures(values[::-1])) == 0


@pytest.mark.parametrize(("moved", "value"), [(0.3, 99.0), (0.3, -5.0), (0.3, math.nan), (0.3, math.inf), (1.0, 2.5)])
def test_a_share_of_records_that_went_elsewhere_is_measured(moved: float, value: float) -> None:
    before = np.repeat([1.0, 2.0, 3.0, 4.0], 100)
    now = before.copy()
    now[np.random.default_rng(0).permutation(400)[: int(400 * moved)]] = value
    expected = moved if value != 2.5 else 0.5  # half were below already
    assert _moved(_figures(before), _figures(now)) == pytest.approx(expected, abs=0.08)


def test_scores_that_are_all_missing_have_all_moved() -> None:
    assert _moved(_figures([1.0] * 100), _figures([math.nan] * 100)) == 1


def test_small_sources_may_move_more() -> None:
    allowed = []
    for count in (100, 10_000):
        shift = _shift(_figures(range(count)), _figures(range(count)))
        assert shift is not None
        allowed.append(shift.allowed)
    assert allowed[0] == pytest.approx(0.05 + 10 * (allowed[1] - 0.05))
    assert _shift(_figures([1.0] * 49), _figures([1.0] * 49)) is None  # fewer than min_records


def test_the_category_that_moved_most_is_told() -> None:
    before, now = ["vqa"] * 90 + ["caption"] * 10, ["vqa"] * 50 + ["caption"] * 10 + ["text"] * 40
    shift = _shift(_figures([1.0] * 100, task=before), _figures([1.0] * 100, task=now), "task")
    assert shift is not None
    assert shift.moved > shift.allowed
    assert shift.text.endswith("40.0% of 100 now") or shift.text.startswith("vqa: 90.0% of 100 records before, 50.0%")


def test_a_source_that_is_gone_is_a_shift_of_the_sources() -> None:
    (shift,) = _figures([1.0] * 200).shifts(_figures([1.0] * 200, "vqav2").spreads(), Drift())
    assert (shift.source, shift.figure, shift.moved) == (ALL, "source", 1.0)


def test_two_draws_of_one_population_do_not_alarm() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        before, now = (_figures(rng.normal(size=300), task=rng.choice(["a", "b", "c"], 300)) for _ in range(2))
        assert all(shift.moved <= shift.allowed for shift in now.shifts(before.spreads(), Drift()))
