"""The geometry of the page's figures, which page.html draws as SVG: bars per source, a histogram per filter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from polite_flamingo.filter.sets import LABELS
from polite_flamingo.reports.filtering.collect import KEPT, Scores
from polite_flamingo.scorers.value_counts import ValueCounts

BINS = 36
WIDTH, HEIGHT, TOP, BASE, SIDE = 320, 150, 20, 118, 10  # of a histogram, in its own units


def title(name: str) -> str:
    """A filter's name for readers."""
    return LABELS[name][0] if name in LABELS else name.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A coloured rectangle; y is measured downwards.

    Args:
        colour: Class of the style sheet.
        label: What it says to the pointer.
    """

    colour: str
    x: float
    y: float
    width: float
    height: float
    label: str = ""


def label(name: str) -> str:
    """What became of a record, for readers: kept, or the filter that took it."""
    return KEPT if name == KEPT else title(name)


def colour(name: str, filters: Sequence[str]) -> str:
    """Class of the style sheet: a filter has the colour of its position in `filters`."""
    return KEPT if name == KEPT else f"c{list(filters).index(name) % 12}"


def source_bar(counts: Counter[str], names: Sequence[str], filters: Sequence[str]) -> list[Rectangle]:
    """One stacked bar, 100 units wide: what became of a source's records, `names` in drawing order."""
    start, parts = 0.0, []
    for name in names:
        share = counts[name] / counts["records"]
        if share:
            spoken = f"{label(name)}: {counts[name]:,} ({share:.1%})"
            parts.append(Rectangle(colour(name, filters), start * 100, 0, share * 100, 10, spoken))
        start += share
    return parts


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts in equal bins; scores beyond the axis are counted in its first or last bin.

    Args:
        low: Left end of the axis.
        high: Right end.
        cuts: Thresholds.
        counts: Source -> (passed, failed), one count per bin.
    """

    low: float
    high: float
    cuts: tuple[float, ...]
    counts: dict[str, tuple[list[int], list[int]]]

    def total(self) -> tuple[list[int], list[int]]:
        """Counts over all sources: passed, failed."""
        columns = [zip(*side, strict=True) for side in zip(*self.counts.values(), strict=True)]
        passed, failed = ([sum(column) for column in side] for side in columns)
        return passed, failed

    def peak(self) -> int:
        """Records in the fullest bin."""
        return max(map(sum, zip(*self.total(), strict=True)))


def histogram(scores: Scores) -> Histogram:
    """Count one filter's scores, per source.

    The axis spans all but the outermost 0.2 % of the scores, and the thresholds if that does not stretch it to double.
    """
    import numpy as np

    values = scores.together()
    low, *_, high = values.quantiles(1000)
    wholes = all(value == round(value) for value in values.counts) and high - low < BINS
    if wholes or low == high:
        high = max(high, low + 4 if wholes else low + 1e-3)
    for cut in scores.cuts:
        if max(high, cut) - min(low, cut) <= 2 * (high - low):
            low, high = min(low, cut), max(high, cut)
    bins = BINS
    if wholes:
        low, high = math.floor(low) - 0.5, math.ceil(high) + 0.5
        bins = round(high - low)
    elif scores.cuts and low < scores.cuts[0] < high:  # a bin shall not lie on both sides of the threshold
        step = (high - low) / BINS
        low = scores.cuts[0] - math.ceil((scores.cuts[0] - low) / step) * step
        bins = math.ceil((high - low) / step)
        high = low + bins * step

    def counts(side: ValueCounts) -> list[int]:
        inside = np.clip(np.array([*side.counts], "f").astype("d"), low, high)
        times = np.array([*side.counts.values()], "q")
        per_bin: list[int] = np.histogram(inside, bins=bins, range=(low, high), weights=times)[0].astype("q").tolist()
        return per_bin

    counted = {source: (counts(passed), counts(failed)) for source, (passed, failed) in sorted(scores.sources.items())}
    return Histogram(low, high, scores.cuts, counted)


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on the axis.

    Args:
        x: Where it is drawn.
        value: What is written beside it.
        anchor: Which side of the text is at x; thresholds only.
    """

    x: float
    value: float
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A histogram laid out in `WIDTH` by `HEIGHT` units.

    Args:
        label: What it shows, for those who cannot see it.
        bars: Passed records below failed ones, bin by bin.
        ticks: Round values of the axis.
        cuts: Thresholds on the axis.
    """

    label: str
    bars: tuple[Rectangle, ...]
    ticks: tuple[Tick, ...]
    cuts: tuple[Tick, ...]


def draw(name: str, data: Histogram) -> Drawing:
    """Lay a filter's histogram out."""
    passed, failed = data.total()
    step = (WIDTH - 2 * SIDE) / len(passed)
    scale = (BASE - TOP) / max(data.peak(), 1)

    def bar(kind: str, index: int, count: int, below: int) -> Rectangle:
        y = BASE - (below + count) * scale
        return Rectangle(kind, SIDE + index * step, y, max(step - 0.8, 0.5), count * scale)

    bars = [bar("pass", i, count, 0) for i, count in enumerate(passed)]
    bars += [bar("fail", i, count, passed[i]) for i, count in enumerate(failed)]
    return Drawing(
        f"{title(name)}: {sum(passed)} records passed, {sum(failed)} failed; "
        f"scores from {data.low:.3g} to {data.high:.3g}",
        tuple(bars),
        tuple(Tick(_x(value, data), value) for value in _round_values(data.low, data.high)),
        tuple(_cut(cut, data) for cut in data.cuts if data.low <= cut <= data.high),
    )


def _cut(cut: float, data: Histogram) -> Tick:
    x = _x(cut, data)
    return Tick(x, cut, "start" if x < WIDTH * 0.15 else "end" if x > WIDTH * 0.85 else "middle")


def _x(value: float, data: Histogram) -> float:
    return SIDE + (value - data.low) / (data.high - data.low) * (WIDTH - 2 * SIDE)


def _round_values(low: float, high: float) -> list[float]:
    """Four to eight round values within the axis."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]
