"""Figures over several trainings: the variants of Figure 9 beside the recipe, and the U of section 4.3 by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.drawing import BLUE, GREEN, GREY, GRID, ORANGE, RED, styled, true_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHIFT = 0.17  # between the two stages of a row, in rows
PANELS = {  # metric -> heading, axis, in percent
    "qa_in_domain": ("Understanding", "in-domain VQA accuracy (NLI)", True),
    "qa_out_of_domain": ("Out of domain", "out-of-domain VQA accuracy (NLI)", True),
    "caption_sts": ("Captions", "STS with the annotation", False),
    "reward": ("Politeness", "mean reward", False),
}
U_PANELS = (("qa_in_domain", BLUE, ".0%"), ("qa_out_of_domain", GREEN, ".0%"), ("reward", RED, ".2f"))


@styled
def variant_panels(variants: Mapping[str, Any], base: str) -> Figure:
    """Figure 9 in miniature: every variant's figures after stages 2 and 3, with 95 % intervals and single seeds.

    Accuracy is by the NLI judge, as in the paper; where the truth is known, the share of true answers is a small
    hollow mark.

    Args:
        variants: Name -> ``label``, ``seeds`` and ``stages`` (stage -> metric -> value, low, high, by_seed).
        base: The variant whose stage 3 is the dashed line.
    """
    from matplotlib.figure import Figure as Canvas

    rows = list(variants.values())[::-1]  # the first one on top
    metrics = {m: texts for m, texts in PANELS.items() if any(_of(v, "stage3", m) for v in rows)}
    figure = Canvas(figsize=(2.0 + 2.6 * max(1, len(metrics)), 1.9 + 0.5 * len(rows)), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, max(1, len(metrics)), sharey=True, squeeze=False)[0]
    for axes, (metric, (title, label, percent)) in zip(panels, metrics.items(), strict=False):
        reference = _of(variants.get(base, {}), "stage3", metric)
        if reference:
            axes.axvline(reference["value"], color=GREY, linestyle="--", linewidth=1.2)
        for row, variant in enumerate(rows):
            for stage, colour, marker, shift in (("stage2", ORANGE, "s", SHIFT), ("stage3", BLUE, "o", -SHIFT)):
                measured = _of(variant, stage, metric)
                if measured:
                    _point(axes, measured, row + shift, colour, marker)
                true = _of(variant, stage, f"{metric}_exact")
                if true:
                    axes.plot(true["value"], row + shift, marker, color=colour, fillstyle="none", markersize=4)
        if percent:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="x", color=GRID)
        axes.tick_params(axis="y", length=0)
        axes.set(title=title, xlabel=label)
    panels[0].set_yticks(range(len(rows)), [f"{row['label']}\n{_seeds(len(row['seeds']))}" for row in rows])
    handles = [
        panels[0].plot([], [], "s", color=ORANGE, label="after stage 2")[0],
        panels[0].plot([], [], "o", color=BLUE, label="after stage 3")[0],
        panels[0].plot([], [], "|", color=GREY, markersize=9, label="one seed")[0],
    ]
    if any(_of(row, "stage3", f"{metric}_exact") for row in rows for metric in metrics):
        handles += panels[0].plot([], [], "o", color=GREY, fillstyle="none", markersize=4, label="true answers")
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


@styled
def u_by_seed(recipe: Mapping[str, Any], raw: Mapping[str, Any] | None, stages: Sequence[str]) -> Figure:
    """The U with several seeds: thin lines are seeds, the bold one their mean with its 95 % interval over samples.

    Args:
        recipe: ``stages`` of the recipe: stage -> metric -> value, low, high, by_seed.
        raw: The same of the training on raw annotations; its stage 2 is the dashed line, where it is near.
        stages: Stages from left to right.
    """
    from matplotlib.figure import Figure as Canvas

    panels = [panel for panel in U_PANELS if all(recipe[stage][panel[0]]["value"] is not None for stage in stages)]
    figure = Canvas(figsize=(4.3 * max(1, len(panels)), 4.1), layout="constrained")
    for axes, (metric, colour, form) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        title, label, percent = PANELS[metric]
        points = [recipe[stage][metric] for stage in stages]
        for run in points[0]["by_seed"]:
            axes.plot([point["by_seed"].get(run) for point in points], color=colour, alpha=0.35, linewidth=1)
        means = [point["value"] for point in points]
        spread = [
            [p["value"] - p["low"] for p in points],
            [p["high"] - p["value"] for p in points],
        ]
        axes.errorbar(range(len(stages)), means, yerr=spread, color=colour, marker="o", linewidth=2, capsize=4)
        for row, point in enumerate(points):
            text = true_minus(point["value"], form)
            axes.annotate(
                text, (row, point["high"]), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=9
            )
        exact = [recipe[stage].get(f"{metric}_exact", {}).get("value") for stage in stages]
        if None not in exact:
            axes.plot(range(len(stages)), exact, color=colour, linestyle=":", linewidth=1.2, label="true answers")
            axes.legend(frameon=False, fontsize=9, loc="best")
        if raw is not None and raw["stage2"][metric]["value"] is not None:
            runs = [value for point in points for value in point["by_seed"].values()]
            _raw_line(axes, raw["stage2"][metric]["value"], form, min(runs), max(runs))
        if percent:
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xticks(range(len(stages)), [stage.replace("stage", "stage ") for stage in stages])
        axes.margins(x=0.15, y=0.2)
        axes.grid(axis="y", color=GRID)
        axes.set(title=title, ylabel=label)
    seeds = _seeds(len(recipe[stages[0]]["reward"]["by_seed"]))
    figure.supxlabel(f"{seeds}; thin: one seed, bold: their mean with its 95 % interval over samples", fontsize=9)
    return figure


def _raw_line(axes: Axes, value: float, form: str, low: float, high: float) -> None:
    """The training on raw annotations as a dashed line; named only where it would press the seeds together."""
    text = f"tuned on raw: {true_minus(value, form)}"
    if low - (high - low) <= value <= high + (high - low):
        axes.axhline(value, color=GREY, linestyle="--", label=text)
    else:
        axes.plot([], [], color=GREY, linestyle="--", label=f"{text}, off the scale")
    axes.legend(frameon=False, fontsize=9, loc="best")


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _of(variant: Mapping[str, Any], stage: str, metric: str) -> Mapping[str, Any] | None:
    """A figure of a variant; None where it was not measured."""
    measured = variant.get("stages", {}).get(stage, {}).get(metric)
    return None if not measured or measured["value"] is None else measured


def _point(axes: Axes, measured: Mapping[str, Any], row: float, colour: str, marker: str) -> None:
    reach = [[max(0.0, measured["value"] - measured["low"])], [max(0.0, measured["high"] - measured["value"])]]
    axes.errorbar(measured["value"], row, xerr=reach, fmt=marker, color=colour, markersize=6, capsize=3, linewidth=1.6)
    runs = [value for value in measured["by_seed"].values() if value is not None]
    if len(runs) > 1:
        axes.plot(runs, [row] * len(runs), "|", color=GREY, markersize=8)
