"""The filters as a picture: what is left after each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polite_flamingo.evaluate.drawing import BLUE, GREEN, GRID, ORANGE, canvas, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def filter_waterfall(start: int, dropped: Sequence[tuple[str, int]]) -> Figure:
    """Records left after each filter, in the order of Figure 10.

    Args:
        start: Records before the first filter.
        dropped: Filter name and the records it dropped, in order.
    """
    figure, axes = canvas(7.6, 1.8 + 0.42 * (len(dropped) + 2))
    left = start
    rows: list[tuple[str, int, int, str, str]] = [("rewritten", 0, start, BLUE, f"{start:,}")]
    for name, count in dropped:
        left -= count
        minus = "\N{MINUS SIGN}" if count else ""
        rows.append((name.replace("_", " "), left, count, ORANGE, f"{minus}{count:,}, {left:,} left"))
    rows.append(("kept", 0, left, GREEN, f"{left:,} ({left / start if start else 0.0:.1%})"))
    for row, (_, begin, width, colour, label) in enumerate(reversed(rows)):
        axes.barh(row, width, left=begin, height=0.68, color=colour)
        axes.annotate(label, (begin + width, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(start, 1) * 1.22)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(axis="x", color=GRID)
    axes.set(title="What each filter drops", xlabel="records")
    return figure
