"""Cells and tables of Markdown; no cell is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.evaluate.drawing import true_minus
from polite_flamingo.reports.results.runs import ProfileRun

TUNED = {  # models of the evaluation, and what they are called
    "raw": "tuned on raw annotations",
    "stage1": "stage 1",
    "stage2": "stage 2",
    "stage3": "stage 3",
}
LOWER_BOUND = "lower_bound"
NAMES = {"annotation": "the annotations", LOWER_BOUND: "lower bound: another sample's annotation", **TUNED}
NO_SET = "no such set"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


def number(value: float, digits: int) -> str:
    """A number with so many decimals and a real minus sign."""
    return true_minus(value, f".{digits}f")


def written(value: float) -> str:
    """A number of the paper as it stands there."""
    return true_minus(value, "")


def measured(figure: Mapping[str, Any] | None, digits: int, scale: float = 1.0, otherwise: str = "not measured") -> str:
    """A figure with its 95 % interval, or a word for why there is none.

    Args:
        figure: ``value``, ``low``, ``high``.
        digits: Decimals.
        scale: 100 for what the paper gives in percent.
        otherwise: The word.
    """
    if not figure or figure.get("value") is None:
        return otherwise
    value, low, high = (number(scale * figure[part], digits) for part in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def ours(run: ProfileRun, what: str) -> str:
    """What a row of ours is called."""
    return f"**ours** (`{run.profile}`), {what}"


def row_of(run: ProfileRun, model: str) -> str:
    """What the row of a model is called, ours or another's that was asked the same."""
    return ours(run, NAMES[model]) if model in NAMES else f"{name_of(model)} on the sets of `{run.profile}`"


def name_of(model: str) -> str:
    """What a model of the evaluation is called; one of another's has its own name."""
    return NAMES.get(model, f"`{model}`")


def tuned(run: ProfileRun) -> list[str]:
    """The models that a run has evaluated: the tuned ones, then those of others."""
    models = run.evaluation.get("models", {})
    return [*(model for model in TUNED if model in models), *(model for model in models if model not in NAMES)]
