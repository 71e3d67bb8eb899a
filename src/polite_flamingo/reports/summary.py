"""The figures by which runs are compared: few, named, two levels. DVC's metrics, MLflow's headline, what git keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.io.text import read_json

FILE = "summary.json"
DIGITS = 3
FIGURES = {  # group -> figure -> stage and place in its report
    "rewriter": {
        "rouge_l_gain": ("train_rewriter", "rouge_l_gain"),
        "answers_preserved": ("filter", "answer_preserved_before"),
    },
    "pf1m": {
        "kept": ("filter", "kept"),
        "kept_share": ("filter", "kept_share"),
        "answers_preserved": ("filter", "answer_preserved_after"),
    },
    "filter": {
        "recall_of_corrupted": ("filter", "recall_of_corrupted"),
        "clean_kept": ("filter", "clean_kept"),
    },
    "reward": {
        "raw": ("filter", "reward.raw"),
        "rewritten": ("filter", "reward.rewritten"),
        "pooled_sd": ("filter", "reward.pooled_sd"),
    },
}
STAGES = ("train_rewriter", "filter", "evaluate")  # whose reports are read
MODELS = ("raw", "stage1", "stage2", "stage3")
ANNOTATION = "annotation"  # has a reward alone
WITH_INTERVAL = ("qa_in_domain", "reward")  # the two axes of the U
MEANS = ("qa_in_domain_without_image", "qa_out_of_domain", "caption_rouge_l")
RIVAL = "raw"


def summarise(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Headline figures of the stages, rounded.

    Args:
        reports: Reports of stages by name; those missing are left out, and so is a figure nobody could measure.

    Returns:
        Group -> figure -> number: ``rewriter``, ``pf1m``, ``filter`` and ``reward`` of the curation, then one group per
        model that was evaluated. The ends of a 95 % interval are figures of their own, as ``reward_low`` and
        ``reward_high``; ``wins_over_raw`` is the share of samples on which a model's reward beats that of the model
        tuned on raw annotations.
    """
    groups = {
        group: {name: _at(reports.get(stage, {}), place) for name, (stage, place) in figures.items()}
        for group, figures in FIGURES.items()
    }
    groups |= _models(reports.get("evaluate", {}))
    known = {group: {name: v for name, v in figures.items() if v is not None} for group, figures in groups.items()}
    return {group: figures for group, figures in known.items() if figures}


def read_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """The reports that the stages of a profile have written, by name."""
    return {path.stem: read_json(path) for path in sorted(folder.glob("*.json")) if path.name != FILE}


def _models(evaluated: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    groups: dict[str, dict[str, float | None]] = {}
    wins = evaluated.get("win_rate") or {}
    order = wins.get("order", [])
    models = evaluated.get("models", {})
    for model in dict.fromkeys((*MODELS, *(name for name in models if name != ANNOTATION))):
        measured = models.get(model, {})
        groups[model] = {}
        for name in WITH_INTERVAL:
            groups[model] |= _interval(name, measured.get(name, {}))
        for name in MEANS:
            groups[model][name] = _rounded(measured.get(name, {}).get("value"))
        if model != RIVAL and {model, RIVAL} <= set(order):
            row, column = order.index(model), order.index(RIVAL)
            ends = {
                end: wins[grid][row][column] for end, grid in (("value", "matrix"), ("low", "low"), ("high", "high"))
            }
            groups[model] |= _interval(f"wins_over_{RIVAL}", ends)
    return groups


def _interval(name: str, figure: Mapping[str, Any]) -> dict[str, float | None]:
    ends = {name: "value", f"{name}_low": "low", f"{name}_high": "high"}
    return {key: _rounded(figure.get(end)) for key, end in ends.items()}


def _at(report: Mapping[str, Any], place: str) -> float | None:
    value: Any = report
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return _rounded(value)


def _rounded(value: Any) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else round(value, DIGITS)
