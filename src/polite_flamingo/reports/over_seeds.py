"""The U over seeds, where the ablations have trained the recipe several times: what one run's figures cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.io.text import read_json

RECIPE = "base"
STEPS = ("stage1 to stage2", "stage2 to stage3")  # down and up, if it is a U
COLUMNS = {"qa_in_domain": "in domain", "qa_out_of_domain": "out of domain", "reward": "reward"}


def read_ablations(profile: str, judges: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, str]:
    """The ablations of a profile, if they can stand beside the figures of its evaluation.

    Args:
        profile: The profile's name.
        judges: Judges of the evaluation; None: there is none to stand beside.

    Returns:
        The summary and no word, or None and why there is none. Rewards and accuracies of other judges are not
        comparable.
    """
    file = Path("reports") / "ablations" / profile / "summary.json"
    if not file.is_file():
        return None, "not measured: `polite-flamingo ablations`"
    summary: dict[str, Any] = read_json(file)
    if RECIPE not in summary["variants"]:
        return None, f"the recipe is not in {file}: `polite-flamingo ablations`"
    if judges is not None and summary.get("judges") != judges:
        return None, f"{file} was measured by other judges than this run: `polite-flamingo ablations`"
    return summary, ""


def seed_lines(recipe: Mapping[str, Any]) -> list[list[str]]:
    """The recipe over seeds as rows of cells: a heading, the mean after each stage, what each step changes.

    Args:
        recipe: ``seeds``, ``stages`` and ``steps`` of the recipe in the summary of the ablations.
    """
    count = len(recipe["seeds"])
    rows = [["mean of 1 seed" if count == 1 else f"mean of {count} seeds", *COLUMNS.values()]]
    for stage, figures in recipe["stages"].items():
        rows.append([stage, *(_number(figures[metric]["value"], ".3f") for metric in COLUMNS)])
    for step in STEPS:
        if step in recipe["steps"]:
            figures = recipe["steps"][step]
            rows.append([step.replace("stage", ""), *(_change(figures[metric]) for metric in COLUMNS)])
    return rows


def _change(figure: Mapping[str, Any]) -> str:
    seeds = figure["over_seeds"]
    if figure["value"] is None or seeds["low"] is None:
        return _number(figure["value"], "+.3f")
    low, high = (_number(seeds[end], "+.2f") for end in ("low", "high"))
    return f"{_number(figure['value'], '+.3f')} ({low} to {high}), {seeds['falls']} fall"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
