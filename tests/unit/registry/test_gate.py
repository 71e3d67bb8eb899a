"""The gate of promotion: paired differences, drawn by image, and what they decide."""

from __future__ import annotations

import pytest

from polite_flamingo.registry.evidence import Evidence
from polite_flamingo.registry.gate import RegistrySettings, compare, grouped_mean, render

DRAWS = {"resamples": 500, "seed": 1}


def scored(values: list[float], *, per_image: int = 1, asked: str = "same", figure: str = "accuracy") -> Evidence:
    records = {f"r{i}": value for i, value in enumerate(values)}
    return Evidence({figure: records}, {key: f"{int(key[1:]) // per_image}.png" for key in records}, {figure: asked})


@pytest.mark.parametrize(
    ("new", "margin", "strict", "verdict"),
    [
        ([1.0] * 60 + [0.0] * 40, 0.0, False, "better"),
        ([1.0] * 20 + [0.0] * 80, 0.0, False, "worse"),
        ([1.0] * 20 + [0.0] * 80, 0.5, False, "not worse"),
        ([0.0] + [1.0] * 40 + [0.0] * 59, 0.0, False, "not worse"),
        ([0.0] + [1.0] * 40 + [0.0] * 59, 0.0, True, "not shown to be no worse"),
        ([0.0] + [1.0] * 40 + [0.0] * 59, 0.1, True, "not worse"),
    ],
)
def test_the_interval_of_the_difference_decides(new: list[float], margin: float, strict: bool, verdict: str) -> None:
    champion = scored([1.0] * 40 + [0.0] * 60)
    (row,) = compare(scored(new), champion, {"accuracy": margin}, strict=strict, **DRAWS)
    assert row.verdict == verdict
    assert row.refused is (verdict in ("worse", "not shown to be no worse"))
    assert row.difference.value == pytest.approx(sum(new) / 100 - 0.4)


def test_answers_to_other_questions_are_not_compared() -> None:
    (row,) = compare(scored([1.0] * 9), scored([0.0] * 9, asked="other"), {"accuracy": 0.0}, strict=False, **DRAWS)
    assert (row.verdict, row.refused, row.difference.n) == ("measured on something else", True, 0)


def test_what_only_one_has_measured_is_refused_and_what_neither_has_does_not_count() -> None:
    new, champion = scored([1.0] * 9), scored([1.0] * 9, figure="reward")
    rows = compare(new, champion, {"accuracy": 0.0, "reward": 0.0, "kept": 0.0}, strict=False, **DRAWS)
    assert [(row.figure, row.refused) for row in rows] == [("accuracy", True), ("reward", True), ("kept", False)]
    assert rows[2].verdict == "not measured"


def test_records_of_one_image_count_together() -> None:
    values = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0] * 10
    alone = grouped_mean(values, [str(i) for i in range(80)], purpose="p", **DRAWS)
    together = grouped_mean(values, [str(i // 4) for i in range(80)], purpose="p", **DRAWS)
    assert alone.value == together.value == 0.5
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_the_table_has_a_line_per_figure() -> None:
    rows = compare(scored([0.0] * 9), scored([1.0] * 9), {"accuracy": 0.0, "kept": 0.1}, strict=False, **DRAWS)
    head, accuracy, kept = render(rows).splitlines()
    assert head.split()[:3] == ["figure", "champion", "new"]
    assert "-1.000 to -1.000" in accuracy and accuracy.endswith("worse")
    assert kept.endswith("not measured")


def test_each_kind_has_its_figures() -> None:
    settings = RegistrySettings()
    assert "reward" in settings.margins("assistant") and "rouge_l_gain" in settings.margins("rewriter")
