"""Drift: whether the records of a source are spread as in the run that was accepted last.

The accepted run is ``configs/baselines/P.json``: counts of categories, and of numbers the share of records up to a few
values, by source. It is in git and an input of the gates, so a gate's outcome depends on nothing that DVC does not see;
`polite-flamingo accept-baseline` writes it.

One measure for both kinds of figures: the share of records that lie elsewhere. Of a category it is the difference of
shares, of a number the largest difference of the shares up to a value (Kolmogorov and Smirnov's, at the values kept).
It may be ``max_shift`` and what chance adds to that: of two draws of n and m records from one source, the normal bound
for a share, the Dvoretzky-Kiefer-Wolfowitz bound for a number, each at ``false_alarms`` divided by the number of
comparisons at the gate. Small sources therefore get wide ranges by themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from polite_flamingo.quality.settings import Drift

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

STEPS = 20  # of a number, the values that part its records in so many are kept
ALL = "all sources"
SOURCE = "source"  # figure of `ALL`: which source a record is of

Spread = dict[str, Any]  # {"counts": {category: records}} or {"records": n, "at": [value], "share": [share]}
Spreads = dict[str, dict[str, Spread]]  # by source and figure


@dataclass(frozen=True, slots=True)
class Shift:
    """One figure of one source, now and in the accepted run.

    Args:
        source: The source, or `ALL`.
        figure: Name of the figure.
        moved: Share of records that lie elsewhere.
        allowed: How many may.
        text: Where most of them went, for people.
    """

    source: str
    figure: str
    moved: float
    allowed: float
    text: str


@dataclass(frozen=True)
class Figures:
    """What is watched of some records.

    Args:
        sources: Source of each record.
        categories: Figures with few values, by name, in the order of `sources`.
        numbers: Figures that are numbers; a missing or infinite one is above every value.
    """

    sources: pd.Series
    categories: Mapping[str, pd.Series] = field(default_factory=dict)
    numbers: Mapping[str, pd.Series] = field(default_factory=dict)

    def spreads(self) -> Spreads:
        """How the records are spread: small enough for git."""
        spreads: Spreads = {ALL: {SOURCE: {"counts": _counts(self.sources)}}}
        for source, rows in self._rows():
            spreads[source] = {name: {"counts": _counts(values.iloc[rows])} for name, values in self.categories.items()}
            for name, values in self.numbers.items():
                if (known := _sorted(values.iloc[rows])).size:
                    spreads[source][name] = _spread(known, len(rows))
        return spreads

    def shifts(self, accepted: Spreads, settings: Drift) -> list[Shift]:
        """Compare with an accepted run what both have, in sources of enough records.

        Args:
            accepted: `spreads` of that run.
            settings: Bounds.
        """
        counts = [(ALL, SOURCE, accepted[ALL][SOURCE]["counts"], _counts(self.sources))] if ALL in accepted else []
        numbers: list[tuple[str, str, Spread, np.ndarray[Any, Any], int]] = []
        for source, rows in self._rows():
            before = accepted.get(source, {})
            for name, values in self.categories.items():
                if name in before:
                    counts.append((source, name, before[name]["counts"], _counts(values.iloc[rows])))
            for name, values in self.numbers.items():
                if name in before and min(len(rows), before[name]["records"]) >= settings.min_records:
                    numbers.append((source, name, before[name], _sorted(values.iloc[rows]), len(rows)))
        counts = [row for row in counts if min(sum(row[2].values()), sum(row[3].values())) >= settings.min_records]
        comparisons = len(numbers) + sum(len({*old, *new}) for _, _, old, new in counts)
        risk = settings.false_alarms / max(comparisons, 1)
        shifts = [_share_shift(*row, settings.max_shift, risk) for row in counts]
        return shifts + [_number_shift(*row, settings.max_shift, risk) for row in numbers]

    def _rows(self) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        for source, rows in sorted(self.sources.groupby(self.sources).indices.items()):
            yield str(source), rows


def _share_shift(
    source: str, figure: str, old: Mapping[str, int], new: Mapping[str, int], most: float, risk: float
) -> Shift:
    n, m = sum(old.values()), sum(new.values())
    z = NormalDist().inv_cdf(1 - risk / 2)
    found = []
    for category in sorted({*old, *new}):
        before, now = old.get(category, 0) / n, new.get(category, 0) / m
        pooled = (old.get(category, 0) + new.get(category, 0)) / (n + m)
        allowed = most + z * math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        text = f"{category}: {before:.1%} of {n} records before, {now:.1%} of {m} now"
        found.append(Shift(source, figure, abs(now - before), allowed, text))
    return max(found, key=lambda shift: shift.moved / shift.allowed)


def _number_shift(
    source: str, figure: str, old: Spread, values: np.ndarray[Any, Any], m: int, most: float, risk: float
) -> Shift:
    n = old["records"]
    allowed = most + math.sqrt(-math.log(risk / 2) / 2 * (1 / n + 1 / m))
    now = _shares(values, old["at"], m)
    differences = [abs(here - before) for here, before in zip(now, old["share"], strict=True)]
    worst = differences.index(max(differences))
    place = f"at most {old['at'][worst - 1]:g}" if worst else f"below {old['at'][0]:g}"
    text = f"{place}: {old['share'][worst]:.1%} of {n} records before, {now[worst]:.1%} of {m} now"
    return Shift(source, figure, differences[worst], allowed, text)


def _spread(values: np.ndarray[Any, Any], records: int) -> Spread:
    import numpy as np

    ranks = [min(values.size - 1, values.size * step // STEPS) for step in range(STEPS + 1)]
    points = np.unique([float(f"{values[rank]:.6g}") for rank in ranks]).tolist()
    return {"records": records, "at": points, "share": _shares(values, points, records)}


def _shares(values: np.ndarray[Any, Any], points: list[float], records: int) -> list[float]:
    """Share of records whose value (`values` are sorted) is below the first point, then at most each point."""
    import numpy as np

    ranks = [np.searchsorted(values, points[0], side="left"), *np.searchsorted(values, points, side="right")]
    return [round(float(rank) / records, 6) for rank in ranks]


def _sorted(values: pd.Series) -> np.ndarray[Any, Any]:
    import numpy as np

    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    return np.sort(numbers[np.isfinite(numbers)])


def _counts(values: pd.Series) -> dict[str, int]:
    return dict(sorted(Counter(map(str, values)).items()))
