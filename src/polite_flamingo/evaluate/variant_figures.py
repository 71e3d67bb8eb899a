"""Figures over several trainings: the variants of Figure 9 beside the recipe, and the U of section 4.3 by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.drawing import BLUE, GREY, GRID, ORANGE, RED, styled, true_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHIFT = 0.17  # between the two stages of a row, in rows
PANELS = {  # metric -> heading, axis, in percent
    "qa_in_domain": ("Understanding", "in-domain VQA accuracy (NLI)", True),
    "qa_out_of_domain_exact": ("Out of domain", "VQA accuracy (ground truth)", True),
    "caption_sts": ("Captions", "STS with the annotation", False),
    "reward": ("Politeness", "mean reward", False),
}


@styled
def variant_panels(variants: Mapping[str, Any], base: str) -> Figure:
    """Figure 9 in miniature: every variant's figures after stages 2 and 3, with 95 % intervals and single seeds.

    Args:
        variants: Name -> ``label`` and ``stages`` (stage -> metric -> value, low, high, by_seed).
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
        if percent:
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="x", color=GRID)
        axes.tick_params(axis="y", length=0)
        axes.set(title=title, xlabel=label)
    panels[0].set_yticks(range(len(rows)), [row["label"] for row in rows])
    handles = [
        panels[0].plot([], [], "s", color=ORANGE, label="after stage 2")[0],
        panels[0].plot([], [], "o", color=BLUE, label="after stage 3")[0],
        panels[0].plot([], [], "|", color=GREY, markersize=9, label="one seed")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


@styled
def u_by_seed(recipe: Mapping[str, Any], raw: Mapping[str, Any] | None, stages: Sequence[str]) -> Figure:
    """The U with several seeds: thin lines are seeds, the bold one their mean with its 95 % interval over samples.

    Args:
        recipe: ``stages`` of the recipe: stage -> metric -> value, low, high, by_seed.
        raw: The same of the training on raw annotations; its stage 2 is the dashed line.
        stages: Stages from left to right.
    """
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(8.6, 3.8), layout="constrained")
    panels = (("qa_in_domain", BLUE, ".0%"), ("reward", RED, ".2f"))
    for axes, (metric, colour, form) in zip(figure.subplots(1, 2), panels, strict=True):
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
        if raw is not None:
            value = raw["stage2"][metric]["value"]
            axes.axhline(value, color=GREY, linestyle="--", label=f"tuned on raw: {true_minus(value, form)}")
            axes.legend(frameon=False, fontsize=9, loc="best")
        if percent:
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xticks(range(len(stages)), [stage.replace("stage", "stage ") for stage in stages])
        axes.margins(x=0.15, y=0.2)
        axes.grid(axis="y", color=GRID)
        axes.set(title=title, ylabel=label)
    return figure


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
