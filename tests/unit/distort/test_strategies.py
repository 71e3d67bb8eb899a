"""The strategies, their counts and what the gate expects are the same names."""

from __future__ import annotations

from polite_flamingo.distort.settings import DistortSettings, PairCounts
from polite_flamingo.distort.strategies import strategies
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.quality import suites


def test_every_strategy_has_a_count_and_is_known_to_the_gate() -> None:
    names = [strategy.name for strategy in strategies(DistortSettings(), TerseRules())]
    (expected,) = [one.arguments["value_set"] for one in suites.distorted() if one.column == "strategy"]
    assert sorted(PairCounts.model_fields) == sorted(names)
    assert sorted(expected) == sorted(names)
