"""Values counted while they pass by: exact mean, variance and quantiles without holding the values.

Scores have four decimals, so there are few distinct ones: memory grows with their range, not with the records.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate


@dataclass(slots=True)
class ValueCounts:
    """How often each value occurs."""

    counts: Counter[float] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[value] += 1

    @property
    def total(self) -> int:
        """Number of values."""
        return self.counts.total()

    def mean(self) -> float:
        """Arithmetic mean, as `statistics.fmean` gives it."""
        return float(self._sum()) / self.total

    def variance(self) -> float:
        """Sample variance, as `statistics.variance` gives it."""
        squares = sum(Fraction(value) ** 2 * count for value, count in self.counts.items())
        return float((squares - self._sum() ** 2 / self.total) / (self.total - 1))

    def quantiles(self, parts: int) -> list[float]:
        """Cut points between `parts` equal parts, as `statistics.quantiles` gives them with method "inclusive"."""
        last = self.total - 1
        places = [divmod(part * last, parts) for part in range(1, parts)]
        values = self.ordered([place for below, _ in places for place in (below, min(below + 1, last))])
        pairs = zip(values[::2], values[1::2], strict=True)
        return [
            (low * (parts - above) + high * above) / parts
            for (low, high), (_, above) in zip(pairs, places, strict=True)
        ]

    def ordered(self, places: Sequence[int]) -> list[float]:
        """The values at some places of the sorted sequence, counted from 0."""
        values = sorted(self.counts)
        ends = [*accumulate(self.counts[value] for value in values)]
        return [values[bisect_right(ends, place)] for place in places]

    def _sum(self) -> Fraction:
        return sum((Fraction(value) * count for value, count in self.counts.items()), Fraction(0))
