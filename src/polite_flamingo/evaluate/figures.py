"""Figures of the evaluation as PNG: reward distributions, win rates, the U curve; two of them also as tables.

Equal numbers give equal bytes (`evaluate.drawing`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.answers import ANNOTATION, BASELINE, MODELS, STAGES, rewards_by_id
from polite_flamingo.evaluate.bootstrap import Figure as Number
from polite_flamingo.evaluate.drawing import BLUE, GREEN, GREY, GRID, RED, canvas, styled, true_minus
from polite_flamingo.evaluate.plot_data import write_rewards, write_u_curve
from polite_flamingo.io import read_shards
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


def draw_all(
    folder: Path,
    answers: Mapping[str, Sequence[Rewrite]],
    models: Mapping[str, Mapping[str, Any]],
    rates: WinRates | None,
    kept: Path,
    scored: Path,
) -> Iterator[Path]:
    """Draw every figure there is data for, and write the tables that DVC draws; yields the files.

    Args:
        folder: Gets the PNGs and CSVs.
        answers: Scored answers by model, and of the annotation.
        models: Figures of the models (`evaluate.answers.measure_all`).
        rates: Who beats whom.
        kept: Shards of the rewritten annotations that passed the filters, where that stage has run.
        scored: All scored rewrites.
    """
    rewards = {name: list(rewards_by_id(answered).values()) for name, answered in answers.items()}
    annotated = {name: rewards.pop(name) for name in (ANNOTATION,) if name in rewards}
    rewards = {**annotated, "rewritten": kept_rewards(kept, scored), **rewards}
    yield reward_distributions(folder / "reward_distributions.png", rewards)
    yield write_rewards(folder / "rewards.csv", rewards)
    if rates is not None:
        yield win_rate_map(folder / "win_rate.png", rates)
    tuned = [name for name in MODELS if name in answers]
    accuracy, politeness = ({name: models[name][figure] for name in tuned} for figure in ("qa_in_domain", "reward"))
    yield u_curve(folder / "u_curve.png", accuracy, politeness, STAGES, BASELINE)
    yield write_u_curve(folder / "u_curve.csv", {name: models[name] for name in tuned})


def kept_rewards(kept: Path, scored: Path) -> list[float]:
    """Rewards of the rewritten annotations that passed the filters; none where that stage has not run.

    Args:
        kept: Shards of the records that passed, which hold no scores.
        scored: Shards of all scored rewrites.
    """
    if not kept.is_dir():
        return []
    ids = {row["id"] for row in read_shards(kept, ["id"])}
    rows = (row for row in read_shards(scored, ["id", "scores"]) if row["id"] in ids)
    rewards = (json.loads(row["scores"]).get("reward") for row in rows)
    return [float(reward) for reward in rewards if reward is not None]


@styled
def reward_distributions(rewards: Mapping[str, Sequence[float]]) -> Figure:
    """How the reward is distributed (section 5, politeness): one violin per kind of answer.

    Args:
        rewards: Kind of answer (a key of `TITLES`) -> rewards, in drawing order from the top; empty ones are left out.
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
    axes.set(title="Reward of the answers", xlabel="reward (no unit; dot: median, bar: middle half)")
    return figure


@styled
def win_rate_map(rates: WinRates) -> Figure:
    """Win-rate matrix (section 5): how often the row's answer has the higher reward, with numbers in the cells."""
    import numpy as np

    matrix = np.array(rates.matrix)
    size = len(rates.order)
    figure, axes = canvas(1.1 * size + 2.6, 0.82 * size + 1.9)
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
    axes.set_xticks(range(size), [label.replace(" ", "\n", 1) for label in labels])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(title=f"Row beats column by reward (n = {rates.n}, 95 % intervals)")
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03, format=lambda value, _: f"{value:.0%}")
    bar.outline.set_visible(False)
    return figure


@styled
def u_curve(
    accuracy: Mapping[str, Number], reward: Mapping[str, Number], stages: Sequence[str], baseline: str
) -> Figure:
    """The U of section 4.3: understanding and politeness over the stages.

    Args:
        accuracy: In-domain accuracy of each model.
        reward: Mean reward of each model.
        stages: Names of the stages in order.
        baseline: The model tuned on raw annotations, drawn as a dashed line.
    """
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(8.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _curve(left, accuracy, stages, baseline, BLUE, "Understanding", "in-domain VQA accuracy (NLI)", ".0%")
    left.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _curve(right, reward, stages, baseline, RED, "Politeness", "mean reward", ".2f")
    return figure


def _curve(
    axes: Axes,
    numbers: Mapping[str, Number],
    stages: Sequence[str],
    baseline: str,
    colour: str,
    title: str,
    label: str,
    form: str,
) -> None:
    measured = [(i, value) for i, name in enumerate(stages) if (value := _triple(numbers.get(name))) is not None]
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
            label="stages",
        )
    for i, (mean, _, high) in measured:
        axes.annotate(
            true_minus(mean, form), (i, high), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=9
        )
    raw = _triple(numbers.get(baseline))
    if raw is not None:
        name = TITLES.get(baseline, baseline)
        axes.axhline(raw[0], color=GREY, linestyle="--", linewidth=1.5, label=f"{name}: {true_minus(raw[0], form)}")
        axes.axhspan(raw[1], raw[2], color=GREY, alpha=0.12, linewidth=0)
    axes.set_xticks(range(len(stages)), [TITLES.get(name, name) for name in stages])
    axes.set_xlim(-0.35, len(stages) - 0.5)
    axes.margins(y=0.2)
    axes.grid(axis="y", color=GRID)
    axes.set(title=title, ylabel=label)
    if measured or raw is not None:
        axes.legend(frameon=False, fontsize=9, loc="best")


def _triple(number: Number | None) -> tuple[float, float, float] | None:
    if number is None or number["value"] is None or number["low"] is None or number["high"] is None:
        return None
    return number["value"], number["low"], number["high"]


def _colour(name: str) -> str:
    return {"annotation": GREY, "raw": GREY, "rewritten": GREEN}.get(name, BLUE)
