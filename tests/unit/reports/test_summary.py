"""The summary: few figures under names that stay, intervals as figures of their own."""

from __future__ import annotations

from typing import Any

from tests.unit.reports.test_headline import STAGES

from polite_flamingo.reports.summary import summarise


def _evaluated(**figures: float | None) -> dict[str, Any]:
    ends = {"low": -2.0, "high": 0.98765}
    return {name: {"value": value, **ends} if value is not None else {"value": None} for name, value in figures.items()}


def test_the_figures_of_the_curation_have_their_names() -> None:
    assert summarise(STAGES) | {"raw": {}, "stage3": {}} == {
        "rewriter": {"rouge_l_gain": 0.31, "answers_preserved": 0.95},
        "pf1m": {"kept": 4, "kept_share": 0.8, "answers_preserved": 0.99},
        "filter": {"recall_of_corrupted": 0.8, "clean_kept": 0.9},
        "reward": {"raw": -1.0, "rewritten": 1.0, "pooled_sd": 0.5},
        "raw": {},
        "stage3": {},
    }


def test_a_models_interval_is_two_figures_more() -> None:
    models = {"stage2": _evaluated(reward=0.12345, qa_out_of_domain=0.5)}
    assert summarise({"evaluate": {"models": models, "win_rate": None}}) == {
        "stage2": {"reward": 0.123, "reward_low": -2.0, "reward_high": 0.988, "qa_out_of_domain": 0.5}
    }


def test_wins_are_those_over_the_model_tuned_on_raw_annotations() -> None:
    grid = {"order": ["annotation", "raw", "stage3"], "matrix": [[0.5, 0.3, 0.2], [0.7, 0.5, 0.1], [0.8, 0.9, 0.5]]}
    rates = {**grid, "low": grid["matrix"], "high": [[1.0] * 3] * 3}
    summary = summarise({"evaluate": {"models": {}, "win_rate": rates}})
    assert summary == {"stage3": {"wins_over_raw": 0.9, "wins_over_raw_low": 0.9, "wins_over_raw_high": 1.0}}


def test_what_nobody_measured_is_absent() -> None:
    real = {**STAGES["filter"], "answer_preserved_before": None, "recall_of_corrupted": None, "clean_kept": None}
    summary = summarise({"filter": real, "evaluate": {"models": {"raw": _evaluated(reward=None)}}})
    assert set(summary) == {"pf1m", "reward"}
    assert summarise({}) == {}
