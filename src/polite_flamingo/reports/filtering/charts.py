"""The page's figures as HTML and SVG without style attributes: bars per source, a histogram per filter."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from polite_flamingo.reports.filtering.collect import KEPT, Scores

BINS = 36
WIDTH, HEIGHT, TOP, BASE, SIDE = 320, 150, 20, 118, 10  # of a histogram, in its own units
AXES = {  # filter -> its name for readers, and what its score is
    "length": ("Length", "Words"),
    "change": ("Change", "Rouge-L with the raw answer"),
    "sts": ("STS", "Cosine with the raw answer"),
    "paragraphs": (
        "CLIP paragraphs",
        "CLIP logit of the lowest paragraph, which is cut below the threshold",
    ),
    "nli": ("NLI", "Largest rejected logit less the largest accepted one"),
    "repetition": ("Repetition", "Share of words in repeated 4-grams"),
    "leaked_boxes": ("Leaked boxes", "Bounding boxes in the text"),
    "unsupported_objects": ("Unsupported objects", "Kinds of objects that nothing known about the image supports"),
    "numbers_changed": ("Numbers changed", "Numbers lost, invented or replaced"),
    "yes_no_flipped": ("Yes and no", "1 where the answer says yes for no or no for yes"),
    "near_duplicate": (
        "Near-duplicate",
        "Similarity with an earlier answer of its source, where all others keep it",
    ),
    "template": ("Template", "Share of its source that begins alike, where all others keep it"),
    "unfinished": ("Unfinished", "The model stopped for want of room"),
}


def title(name: str) -> str:
    """A filter's name for readers."""
    return AXES[name][0] if name in AXES else name.replace("_", " ").capitalize()


def legend(names: Sequence[str], filters: Sequence[str]) -> str:
    """Colour keys of `names`; a filter has the colour of its place in `filters`."""
    items = [
        f'<li><svg class="key" viewBox="0 0 1 1" aria-hidden="true"><rect class="{_colour(name, filters)}" width="1" '
        f'height="1"/></svg>{escape("kept" if name == KEPT else title(name))}</li>'
        for name in names
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def source_bar(counts: Counter[str], names: Sequence[str], filters: Sequence[str]) -> str:
    """One stacked bar: what became of a source's records, `names` in drawing order."""
    start, parts = 0.0, []
    for name in names:
        share = counts[name] / counts["records"]
        if share:
            told = f"{'kept' if name == KEPT else title(name)}: {counts[name]:,} ({share:.1%})"
            parts.append(
                f'<rect class="{_colour(name, filters)}" x="{start * 100:.3f}" width="{share * 100:.3f}" height="10">'
                f"<title>{escape(told)}</title></rect>"
            )
        start += share
    return (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" '
        f'aria-label="{counts[KEPT] / counts["records"]:.1%} kept">{"".join(parts)}</svg>'
    )


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

    values = np.concatenate([np.frombuffer(side, "f") for sides in scores.sources.values() for side in sides])
    low, high = (float(v) for v in np.quantile(values, [0.001, 0.999]))
    wholes = bool(np.all(values == np.round(values))) and high - low < BINS
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

    def counts(side: array[float]) -> list[int]:
        inside = np.clip(np.frombuffer(side, "f").astype("d"), low, high)
        found: list[int] = np.histogram(inside, bins=bins, range=(low, high))[0].tolist()
        return found

    counted = {source: (counts(passed), counts(failed)) for source, (passed, failed) in sorted(scores.sources.items())}
    return Histogram(low, high, scores.cuts, counted)


def draw(name: str, data: Histogram, key: str) -> str:
    """A histogram as SVG; bars of passed records below those of failed ones. The script finds its counts by `key`."""
    passed, failed = data.total()
    step = (WIDTH - 2 * SIDE) / len(passed)
    scale = (BASE - TOP) / max(data.peak(), 1)

    def bar(kind: str, index: int, count: int, below: int) -> str:
        return (
            f'<rect class="{kind}" x="{SIDE + index * step:.2f}" width="{max(step - 0.8, 0.5):.2f}" '
            f'y="{BASE - (below + count) * scale:.2f}" height="{count * scale:.2f}"/>'
        )

    bars = [bar("pass", i, count, 0) for i, count in enumerate(passed)]
    bars += [bar("fail", i, count, passed[i]) for i, count in enumerate(failed)]
    return (
        f'<svg class="hist" data-key="{escape(key)}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(_spoken(name, data))}"><g class="bars">{"".join(bars)}</g>'
        f'<line class="axis" x1="{SIDE}" x2="{WIDTH - SIDE}" y1="{BASE}" y2="{BASE}"/>'
        f"{_ticks(data)}{_cuts(data)}</svg>"
    )


def _ticks(data: Histogram) -> str:
    parts = []
    for value in _round_values(data.low, data.high):
        x = _x(value, data)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{BASE}" y2="{BASE + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{BASE + 16}">{value:g}</text>')
    return "".join(parts)


def _cuts(data: Histogram) -> str:
    parts = []
    for cut in data.cuts:
        if data.low <= cut <= data.high:
            x = _x(cut, data)
            anchor = "start" if x < WIDTH * 0.15 else "end" if x > WIDTH * 0.85 else "middle"
            parts.append(f'<line class="cut" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{BASE}"/>')
            parts.append(f'<text class="cutlabel {anchor}" x="{x:.1f}" y="{TOP - 8}">{cut:g}</text>')
    return "".join(parts)


def _spoken(name: str, data: Histogram) -> str:
    passed, failed = (sum(side) for side in data.total())
    return f"{title(name)}: {passed} records passed, {failed} failed; scores from {data.low:.3g} to {data.high:.3g}"


def _x(value: float, data: Histogram) -> float:
    return SIDE + (value - data.low) / (data.high - data.low) * (WIDTH - 2 * SIDE)


def _round_values(low: float, high: float) -> list[float]:
    """Four to eight round values within the axis."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _colour(name: str, filters: Sequence[str]) -> str:
    return KEPT if name == KEPT else f"c{list(filters).index(name) % 12}"
