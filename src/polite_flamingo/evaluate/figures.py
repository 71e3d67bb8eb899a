"""Figures of the evaluation as PNG: reward distributions, win rates, the U curve; two of them also as tables.

Equal numbers give equal bytes (`evaluate.drawing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.answers import ANNOTATION, BASELINE, MODELS, STAGES, rewards_by_id
from polite_flamingo.evaluate.bootstrap import Figure as Number
from polite_flamingo.evaluate.drawing import BLUE, GREEN, GREY, GRID, ORANGE, RED, canvas, styled, true_minus
from polite_flamingo.evaluate.plot_data import write_rewards, write_u_curve
from polite_flamingo.evaluate.responses import PF1M, PF1M_RAW
from polite_flamingo.records import Rewrite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from polite_flamingo.evaluate.politeness import WinRates

TITLES = {
    "annotation": "raw annotation",
    "rewritten": "rewritten annotation",
    "raw": "tuned on raw",
    "stage1": "stage 1",
    "stage2": "stage 2",
    "stage3": "stage 3",
}
LONGEST = 15  # characters of a model's name that fit below its column
ACCURACIES = (("qa_in_domain", BLUE, "in domain"), ("qa_out_of_domain", ORANGE, "out of domain"))


def draw_all(
    folder: Path,
    answers: Mapping[str, Sequence[Rewrite]],
    models: Mapping[str, Mapping[str, Any]],
    rates: WinRates | None,
    responses: Mapping[str, Sequence[float]],
) -> Iterator[Path]:
    """Draw every figure there is data for, and write the tables that DVC draws; yields the files.

    Args:
        folder: Gets the PNGs and CSVs.
        answers: Scored answers by model, and of the annotation.
        models: Figures of the models (`evaluate.answers.measure_all`).
        rates: Who beats whom.
        responses: Rewards of PF-1M and of instruction sets, from the top (`evaluate.responses`).
    """
    rewards = {name: list(rewards_by_id(answered).values()) for name, answered in answers.items()}
    annotated = {name: rewards.pop(name) for name in (ANNOTATION,) if name in rewards}
    rewards = {**annotated, "rewritten": list(responses.get(PF1M, ())), **rewards}
    yield reward_distributions(folder / "reward_distributions.png", rewards, "Reward of the answers")
    yield write_rewards(folder / "rewards.csv", rewards)
    if responses:
        yield reward_distributions(folder / "instruction_sets.png", responses, "Reward of instruction sets (Figure 6)")
    if rates is not None:
        yield win_rate_map(folder / "win_rate.png", rates)
    tuned = {name: models[name] for name in MODELS if name in answers}
    yield u_curve(folder / "u_curve.png", tuned, STAGES, BASELINE)
    yield write_u_curve(folder / "u_curve.csv", tuned)


@styled
def reward_distributions(rewards: Mapping[str, Sequence[float]], title: str) -> Figure:
    """How the reward is distributed (section 5, politeness): one violin per kind of answer.

    Args:
        rewards: Kind of answer (a key of `TITLES`) -> rewards, in drawing order from the top; empty ones are left out.
        title: Of the figure.
    """
    import numpy as np

    drawn = {name: np.asarray(values, dtype=float) for name, values in rewards.items() if len(values)}
    figure, axes = canvas(7.2, 1.6 + 0.62 * len(drawn))
    rows = list(range(len(drawn), 0, -1))
    bodies: Any = axes.violinplot(
        list(drawn.values()), positions=rows, orientation="horizontal", widths=0.85, showextrema=False
    )["bodies"]
    for name, body in zip(drawn, bodies, strict=True):
        body.set(facecolor=_colour(name), edgecolor=_colour(name), alpha=0.35, linewidth=1.0)
    for row, (name, values) in zip(rows, drawn.items(), strict=True):
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        axes.plot([low, high], [row, row], color=_colour(name), linewidth=3.5, solid_capstyle="butt")
        axes.plot(middle, row, "o", color="white", markeredgecolor=_colour(name), markeredgewidth=1.6, markersize=6)
        axes.annotate(
            true_minus(middle, ".2f"),
            (middle, row),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    axes.set_yticks(rows, [f"{TITLES.get(name, name)}\nn = {len(values)}" for name, values in drawn.items()])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID)
    axes.set(title=title, xlabel="reward (no unit; dot: median, bar: middle half)")
    return figure


@styled
def win_rate_map(rates: WinRates) -> Figure:
    """Win-rate matrix (section 5): how often the row's answer has the higher reward, with numbers in the cells."""
    import numpy as np

    matrix = np.array(rates.matrix)
    size = len(rates.order)
    figure, axes = canvas(max(1.1 * size + 2.6, 6.4), 0.82 * size + 1.9)  # the title needs its room
    image = axes.imshow(matrix, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    for i in range(size):
        for j in range(size):
            text = "" if i == j else f"{matrix[i, j]:.0%}\n{rates.low[i][j]:.0%} to {rates.high[i][j]:.0%}"
            axes.text(
                j, i, text, ha="center", va="center", fontsize=9, color="black" if matrix[i, j] > 0.55 else "white"
            )
    for edge in np.arange(0.5, size - 1):
        axes.axhline(edge, color="white", linewidth=1)
        axes.axvline(edge, color="white", linewidth=1)
    labels = [TITLES.get(name, name) for name in rates.order]
    axes.set_yticks(range(size), labels)
    if max(map(len, labels), default=0) > LONGEST:
        axes.set_xticks(range(size), labels, rotation=30, ha="right")
    else:
        axes.set_xticks(range(size), [label.replace(" ", "\n", 1) for label in labels])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(title=f"Row beats column by reward (n = {rates.n}, 95 % intervals)")
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03, format=lambda value, _: f"{value:.0%}")
    bar.outline.set_visible(False)
    return figure


@styled
def u_curve(models: Mapping[str, Mapping[str, Number]], stages: Sequence[str], baseline: str) -> Figure:
    """The U of section 4.3: understanding, in and out of domain, and politeness over the stages.

    Accuracy is by the NLI judge; where a rendered world knows the truth, the share of true answers is a thin line.

    Args:
        models: Figures of each model.
        stages: Names of the stages in order.
        baseline: The model tuned on raw annotations, drawn as dashed lines.
    """
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, colour, label in ACCURACIES:
        _curve(left, models, stages, baseline, name, colour, label, ".0%")
    for name, colour, label in ACCURACIES:
        true = [(i, value) for i, (value, _, _) in _measured(models, stages, f"{name}_exact")]
        if true:
            places = [i for i, _ in true], [value for _, value in true]
            left.plot(*places, color=colour, linewidth=1, alpha=0.7, marker=".", label=f"{label}: true answers")
    _curve(right, models, stages, baseline, "reward", RED, "reward", ".2f")
    left.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    left.set(title="Understanding", ylabel="VQA accuracy (NLI)")
    right.set(title="Politeness", ylabel="mean reward")
    for axes in (left, right):
        axes.set_xticks(range(len(stages)), [TITLES.get(name, name) for name in stages])
        axes.set_xlim(-0.35, len(stages) - 0.5)
        axes.margins(y=0.2)
        axes.grid(axis="y", color=GRID)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    left.set_ylim(bottom=0)
    return figure


def _curve(
    axes: Axes,
    models: Mapping[str, Mapping[str, Number]],
    stages: Sequence[str],
    baseline: str,
    name: str,
    colour: str,
    label: str,
    form: str,
) -> None:
    """One figure of the stages with its intervals, and of the baseline as a dashed line."""
    measured = _measured(models, stages, name)
    if measured:
        axes.errorbar(
            [i for i, _ in measured],
            [value for _, (value, _, _) in measured],
            yerr=[
                [max(v - low, 0.0) for _, (v, low, _) in measured],
                [max(high - v, 0.0) for _, (v, _, high) in measured],
            ],
            color=colour,
            marker="o",
            markersize=7,
            linewidth=2,
            capsize=4,
            label=label,
        )
    for i, (mean, _, high) in measured:
        axes.annotate(
            true_minus(mean, form), (i, high), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=9
        )
    for _, raw in _measured(models, [baseline], name):
        text = f"{label}, {TITLES.get(baseline, baseline)}: {true_minus(raw[0], form)}"
        axes.axhline(raw[0], color=colour, linestyle="--", linewidth=1.2, label=text)
        axes.axhspan(raw[1], raw[2], color=colour, alpha=0.1, linewidth=0)


def _measured(
    models: Mapping[str, Mapping[str, Number]], names: Sequence[str], figure: str
) -> list[tuple[int, tuple[float, float, float]]]:
    """Place, value and interval of a figure of each model that has it."""
    found = [(i, _triple(models.get(name, {}).get(figure))) for i, name in enumerate(names)]
    return [(i, triple) for i, triple in found if triple is not None]


def _triple(number: Number | None) -> tuple[float, float, float] | None:
    if number is None or number["value"] is None or number["low"] is None or number["high"] is None:
        return None
    return number["value"], number["low"], number["high"]


def _colour(name: str) -> str:
    return {"annotation": GREY, "raw": GREY, PF1M_RAW: GREY, "rewritten": GREEN, PF1M: GREEN}.get(name, BLUE)
