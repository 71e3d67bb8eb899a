"""Pictures of an evaluation: the alignment tax, differences as a forest, the matrix of wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.drawing import BLUE, GREEN, GREY, GRID, ORANGE, RED, canvas, styled, true_minus
from polite_flamingo.evaluate.figures import win_rate_map
from polite_flamingo.evaluate.politeness import WinRates
from polite_flamingo.io.text import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STAGES = ("stage1", "stage2", "stage3")
RAW = "raw"
TAX = ("understanding", "politeness")
MARKERS = "osD^vP*X<>"
COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)
MOST = 40  # differences in the forest, the clearest first
LABEL = 34  # characters of a model's name


def draw_all(folder: Path, report: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> dict[str, Path]:
    """Draw what the report has figures for.

    Args:
        folder: Where the PNG files go.
        report: As of `figures.report`.
        beside: Points of a pipeline, as of `tax_points`.

    Returns:
        Name -> file: some of ``tax``, ``forest``, ``wins``.
    """
    drawn: dict[str, Path] = {}
    points = {**(beside or {}), **report["tax"]["points"]}
    if points:
        drawn["tax"] = tax_plot(folder / "tax.png", points)
    if report["differences"]:
        drawn["forest"] = forest_plot(folder / "forest.png", report["differences"])
    if report["politeness"].get("matrix"):
        drawn["wins"] = win_rate_map(folder / "wins.png", _win_rates(report["politeness"]))
    return drawn


def tax_points(file: Path) -> dict[str, Any]:
    """Understanding and politeness of each model of a report, of a pipeline (evaluate.json) or of files of answers.

    Args:
        file: Either, as JSON.

    Raises:
        DataError: it is neither.
    """
    try:
        points = _tax_points(read_json(file))
        _ = [float(one[name][key]) for one in points.values() for name in TAX for key in ("value", "low", "high")]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        hint = "give evaluate.json of a pipeline, or report.json of evaluate-answers"
        raise DataError("file is no report", value=repr(error), where=file, next_step=hint) from None
    return points


def _tax_points(report: Mapping[str, Any]) -> dict[str, Any]:
    if "tax" in report:
        points: dict[str, Any] = report["tax"]["points"]
        return points
    found = {}
    for model, figures in report["models"].items():
        polite = figures.get("reward")
        accuracies = [figures[name] for name in ("qa_in_domain", "qa_out_of_domain") if _there(figures.get(name))]
        if accuracies and _there(polite):
            means = {key: sum(one[key] for one in accuracies) / len(accuracies) for key in ("value", "low", "high")}
            found[model] = {"understanding": means, "politeness": polite}
    return found


@styled
def tax_plot(points: Mapping[str, Any]) -> Figure:
    """The paper's message in one picture: how much each model understands against how polite it is.

    The stages of a pipeline are joined by a line, the model tuned on raw annotations by a dashed one to the last of
    them: what it lost in manners is the tax.

    Args:
        points: Model -> ``understanding`` and ``politeness`` with intervals.
    """
    figure, axes = canvas(10.2, 5.6)
    for i, (name, point) in enumerate(points.items()):
        x, y = point["politeness"], point["understanding"]
        axes.errorbar(
            x["value"],
            y["value"],
            xerr=[[max(x["value"] - x["low"], 0.0)], [max(x["high"] - x["value"], 0.0)]],
            yerr=[[max(y["value"] - y["low"], 0.0)], [max(y["high"] - y["value"], 0.0)]],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=8,
            capsize=3,
            linewidth=1.2,
            label=_short(name),
        )
    stages = [points[name] for name in STAGES if name in points]
    for line, style in ((stages, "-"), ([points[RAW], stages[-1]] if RAW in points and stages else [], "--")):
        if len(line) > 1:
            places = [[one[axis]["value"] for one in line] for axis in ("politeness", "understanding")]
            axes.plot(*places, color=GREY, linewidth=1.2, linestyle=style, zorder=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(color=GRID)
    axes.margins(0.1)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # near points overlap no names
    axes.set(
        title="Understanding against politeness (95 % intervals)",
        xlabel="politeness: mean reward (no unit)",
        ylabel="understanding: mean over sets",
    )
    return figure


@styled
def forest_plot(differences: Sequence[Mapping[str, Any]]) -> Figure:
    """Differences between models with their intervals, in standard deviations of their resamples so that they share an
    axis; those that hold after Holm's correction are filled.

    Args:
        differences: Rows of the report.
    """
    rows = sorted(differences, key=lambda row: row["p"])[:MOST][::-1]
    figure, axes = canvas(12.5, 1.6 + 0.28 * len(rows))
    labels = []
    for place, row in enumerate(rows):
        half = max((row["high"] - row["low"]) / 3.92, 1e-9)
        value, low, high = (row[key] / half for key in ("value", "low", "high"))
        holds = row["p_holm"] < 0.05
        colour = (RED if value < 0 else BLUE) if holds else GREY
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot([value], [place], "o", color=colour, markerfacecolor=colour if holds else "white", markersize=7)
        share = row["figure"] not in ("reward", "cider")
        told = true_minus(row["value"] * (100 if share else 1), "+.1f" if share else "+.2f")
        labels.append(f"{_short(row['first'])} - {_short(row['second'])}, {row['set']}, {row['figure']}: {told}")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_ylim(-0.8, len(rows) - 0.2)
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID)
    axes.set(
        title=f"The {len(rows)} clearest of {len(differences)} differences",
        xlabel="standard errors, 95 % interval; filled: holds after Holm's correction",
    )
    return figure


def _win_rates(told: Mapping[str, Any]) -> WinRates:
    matrix, low, high = (tuple(tuple(row) for row in told[name]) for name in ("matrix", "low", "high"))
    return WinRates(tuple(_short(name) for name in told["order"]), matrix, low, high, told["n"])


def _short(name: str) -> str:
    return name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"


def _there(figure: Mapping[str, Any] | None) -> bool:
    return figure is not None and all(figure.get(key) is not None for key in ("value", "low", "high"))
