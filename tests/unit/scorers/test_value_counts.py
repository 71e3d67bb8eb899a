"""Values counted as they pass by have the figures of the values themselves."""

from __future__ import annotations

from statistics import fmean, quantiles, variance

from hypothesis import given
from hypothesis import strategies as st

from polite_flamingo.scorers.value_counts import ValueCounts


@given(st.lists(st.integers(-40_000, 40_000).map(lambda number: number / 10_000), min_size=2, max_size=60))
def test_counted_values_have_the_mean_variance_and_quantiles_of_the_values(values: list[float]) -> None:
    counted = ValueCounts()
    for value in values:
        counted.add(value)
    assert counted.mean() == fmean(values)
    assert counted.variance() == variance(values)
    assert counted.quantiles(20) == quantiles(values, n=20, method="inclusive")


def test_one_value_is_all_its_quantiles() -> None:
    counted = ValueCounts()
    counted.add(0.5)
    assert counted.quantiles(4) == [0.5, 0.5, 0.5]
