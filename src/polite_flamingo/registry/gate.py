"""The gate of promotion: a new version against the champion, figure by figure, by the interval of their difference.

Both answered the same records, so the difference is paired: its interval is a bootstrap over images (all records of an
image are drawn together), 95 %. It is the only thing asked of a new version: that no figure is shown to be worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from polite_flamingo.evaluate.bootstrap import LEVEL, NOTHING, Interval, resample_counts
from polite_flamingo.registry.evidence import Evidence
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BETTER, NOT_WORSE, WORSE = "better", "not worse", "worse"
UNPROVEN = "not shown to be no worse"  # with `strict`
OTHER_SET, UNMEASURED = "measured on something else", "not measured"
REFUSED = (WORSE, UNPROVEN, OTHER_SET)


class RegistrySettings(Settings):
    """What a registered version holds, and what lets it become the champion."""

    copy_below_gb: float = Field(
        2.0, ge=0, description="folders of weights up to this size are copied into a version, larger ones referred to"
    )
    assistant: dict[str, float] = Field(
        {
            "qa_in_domain": 0.0,
            "qa_in_domain_exact": 0.0,
            "qa_out_of_domain": 0.0,
            "qa_out_of_domain_exact": 0.0,
            "reward": 0.0,
        },
        description="figure: margin. A version is refused where the difference from the champion lies below -margin "
        "with its whole interval; what neither has measured does not count",
    )
    rewriter: dict[str, float] = Field(
        {"rouge_l_gain": 0.0, "kept": 0.0, "answer_preserved": 0.0}, description="the same for rewriters"
    )
    strict: bool = Field(
        False, description="refuse also where the interval reaches below -margin: no worse must then be shown"
    )

    def margins(self, kind: str) -> Mapping[str, float]:
        """Figures that count for a kind of model, with their margins."""
        return self.rewriter if kind == "rewriter" else self.assistant


@dataclass(frozen=True, slots=True)
class FigureComparison:
    """A figure of the new version and of the champion.

    Args:
        figure: Its name.
        champion: The champion's mean; None: not measured.
        new: The new version's mean.
        difference: New minus champion, with its interval; `n` counts records.
        images: Groups of records that were drawn together.
        margin: How far the interval may lie below 0.
        verdict: `BETTER`, `NOT_WORSE`, `WORSE`, `UNPROVEN`, `OTHER_SET` or `UNMEASURED`.
    """

    figure: str
    champion: float | None
    new: float | None
    difference: Interval
    images: int
    margin: float
    verdict: str

    @property
    def refused(self) -> bool:
        """Whether this figure keeps the new version from promotion."""
        return self.verdict in REFUSED


def compare(
    new: Evidence, champion: Evidence, margins: Mapping[str, float], *, strict: bool, resamples: int, seed: int
) -> list[FigureComparison]:
    """Compare two versions by the figures that count.

    Args:
        new: Scores of the new version.
        champion: Scores of the champion.
        margins: Figure -> margin.
        strict: See `RegistrySettings`.
        resamples: Bootstrap resamples.
        seed: The run's seed.
    """
    before, after = champion.means(), new.means()
    rows = []
    for figure, margin in margins.items():
        interval, images = NOTHING, 0
        if figure not in before and figure not in after:
            verdict = UNMEASURED
        elif new.sets.get(figure) != champion.sets.get(figure):
            verdict = OTHER_SET
        else:
            difference = {key: value - champion.scores[figure][key] for key, value in new.scores[figure].items()}
            groups = [new.groups[key] for key in difference]
            images = len(set(groups))
            interval = grouped_mean(
                list(difference.values()), groups, resamples=resamples, seed=seed, purpose=f"promotion:{figure}"
            )
            verdict = _verdict(interval, margin, strict)
        rows.append(FigureComparison(figure, before.get(figure), after.get(figure), interval, images, margin, verdict))
    return rows


def grouped_mean(
    values: Sequence[float], groups: Sequence[str], *, resamples: int, seed: int, purpose: str
) -> Interval:
    """Mean of `values` with its interval, values of one group drawn together."""
    import numpy as np

    _, positions = np.unique(np.asarray(groups), return_inverse=True)
    sums, sizes = np.bincount(positions, weights=np.asarray(values, dtype=np.float64)), np.bincount(positions)
    drawn: list[NDArray[np.float64]] = [
        (counts @ sums) / (counts @ sizes) for counts in resample_counts(len(sums), resamples, seed, purpose)
    ]
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(np.concatenate(drawn), [tail, 1.0 - tail])
    return Interval(float(np.mean(values)), float(low), float(high), len(values))


def render(rows: Sequence[FigureComparison]) -> str:
    """The comparison as a table for a terminal."""
    lines = [("figure", "champion", "new", "difference", "95 % interval", "n", "images", "margin", "verdict")]
    for row in rows:
        interval = row.difference
        spread = "-" if interval.low is None else f"{_signed(interval.low)} to {_signed(interval.high)}"
        lines.append(
            (
                row.figure,
                _plain(row.champion),
                _plain(row.new),
                _signed(interval.value),
                spread,
                str(interval.n),
                str(row.images),
                f"{row.margin:g}",
                row.verdict,
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _verdict(interval: Interval, margin: float, strict: bool) -> str:
    assert interval.low is not None and interval.high is not None
    if interval.high < -margin:
        return WORSE
    if interval.low > 0:
        return BETTER
    return UNPROVEN if strict and interval.low < -margin else NOT_WORSE


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
