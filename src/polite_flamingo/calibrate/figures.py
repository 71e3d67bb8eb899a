"""Plots of a calibration as PNG: ROC and precision-recall curves, recall per kind of error, keep rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polite_flamingo.calibrate.verdicts import suspicion
from polite_flamingo.evaluate.drawing import BLUE, GREEN, GREY, ORANGE, RED, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#F0E442", GREY)  # Okabe-Ito
LINES = ("-", "--", ":")  # three and eight have no common factor: 24 different lines
MARKERS = {"paper": "o", "profile": "s", "suggested": "D"}


@styled
def curves(report: Mapping[str, Any]) -> Figure:
    """ROC and precision-recall curves of every filter's score, with the points its thresholds give.

    Args:
        report: What `study` returned.
    """
    entries = len(report["curves"]) + len(report["limits"])
    figure = _figure(10.5, 4.0 + 0.17 * entries)
    roc, pr = figure.subplots(1, 2)
    for index, (name, curve) in enumerate(report["curves"].items()):
        colour, line = COLOURS[index % len(COLOURS)], LINES[index % len(LINES)]
        area, average = curve["auc"], curve["average_precision"]
        n = curve["corrupted"] + curve["clean"]
        label = f"{name} (n = {n}): {_range(area)}"
        roc.plot([0, *curve["cost"]], [0, *curve["recall"]], line, color=colour, label=label)
        pr.plot(curve["recall"], curve["precision"], line, color=colour, label=f"{name}: {_range(average)}")
        for thresholds, limits in report["limits"].items():
            if limits.get(name) is not None and (at := _point(curve, suspicion(name, limits[name]))) >= 0:
                marker, x, y = MARKERS.get(thresholds, "^"), curve["cost"][at], curve["recall"][at]
                roc.plot(x, y, marker, color=colour, markeredgecolor="black", zorder=5)
                pr.plot(y, curve["precision"][at], marker, color=colour, markeredgecolor="black", zorder=5)
    for thresholds in report["limits"]:
        roc.plot([], [], MARKERS.get(thresholds, "^"), color="white", markeredgecolor="black", label=f"at {thresholds}")
    roc.plot([0, 1], [0, 1], color="#C8C8C8", linewidth=1, zorder=0)
    roc.set(title="ROC", xlabel="share of clean records taken", ylabel="share of corrupted records caught")
    pr.axhline(report["prevalence"], color="#C8C8C8", linewidth=1, zorder=0)
    pr.set(
        title="Precision and recall",
        xlabel="share of corrupted records caught",
        ylabel=f"precision at {report['prevalence']:.1%} corrupted",
    )
    for axes in (roc, pr):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    return figure


@styled
def recalls(report: Mapping[str, Any]) -> Figure:
    """Share caught of every kind of error, by the chain, per set of thresholds, with intervals."""
    sets = report["chain"]
    first = next(iter(sets.values()))
    kinds = list(first["recall_by_kind"])
    figure = _figure(7.6, 1.9 + 0.55 * (len(kinds) + 1))
    axes = figure.subplots()
    rows = ["clean records kept", *kinds]
    for index, (name, rates) in enumerate(sets.items()):
        values = [rates["clean_kept"], *(rates["recall_by_kind"][kind] for kind in kinds)]
        heights = [len(rows) - 1 - i + 0.14 * ((len(sets) - 1) / 2 - index) for i in range(len(rows))]
        known = [(v, y) for v, y in zip(values, heights, strict=True) if v["value"] is not None]
        colour = COLOURS[index]
        axes.hlines(
            [y for _, y in known],
            [_low(v) for v, _ in known],
            [_high(v) for v, _ in known],
            color=colour,
            linewidth=2,
        )
        marker = MARKERS.get(name, "^")
        axes.plot([v["value"] for v, _ in known], [y for _, y in known], marker, color=colour, label=name)
    counts = [first["clean"], *(first["recall_by_kind"][kind]["n"] for kind in kinds)]
    labels = [f"{row.replace('_', ' ')}\nn = {count}" for row, count in zip(rows, counts, strict=True)]
    axes.set_yticks(range(len(rows) - 1, -1, -1), labels)
    axes.axhline(len(rows) - 1.5, color="#C8C8C8", linewidth=1)
    axes.grid(axis="x", color="#E3E3E3")
    axes.set(title="What the chain catches and keeps", xlabel="share (95 % intervals)", xlim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    return figure


@styled
def keep_rates(report: Mapping[str, Any]) -> Figure:
    """Share of each source that one filter alone keeps, against its threshold."""
    keep_rates_of = report["keep_rates"]
    columns = min(2, len(keep_rates_of)) or 1
    rows = max(1, -(-len(keep_rates_of) // columns))
    figure = _figure(5.2 * columns, 3.4 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    sources = sorted({source for rates in keep_rates_of.values() for source in rates})
    for axes in grid.flat[len(keep_rates_of) :]:
        axes.set_visible(False)
    for axes, (name, rates) in zip(grid.flat, keep_rates_of.items(), strict=False):
        for source, line in rates.items():
            index = sources.index(source)
            axes.plot(
                line["thresholds"],
                line["kept"],
                LINES[index % len(LINES)],
                color=COLOURS[index % len(COLOURS)],
                label=source,
            )
        for thresholds, limits in report["limits"].items():
            if limits.get(name) is not None:
                style = ":" if thresholds == "paper" else "--"
                axes.axvline(limits[name], color=GREY, linestyle=style, linewidth=1.2)
        axes.set(title=name, xlabel="threshold", ylabel="kept", ylim=(-0.02, 1.05))
        axes.grid(axis="y", color="#E3E3E3")
    handles = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def _range(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return f"{interval['value']:.2f}"
    return f"{interval['value']:.2f} ({interval['low']:.2f} to {interval['high']:.2f})"


def _low(interval: Mapping[str, Any]) -> float:
    return float(interval["value"] if interval["low"] is None else interval["low"])


def _high(interval: Mapping[str, Any]) -> float:
    return float(interval["value"] if interval["high"] is None else interval["high"])


def _point(curve: Mapping[str, Any], limit: float) -> int:
    """Place on the curve of the last record that is taken; -1 where none is."""
    return sum(suspicion > limit for suspicion in curve["thresholds"]) - 1
