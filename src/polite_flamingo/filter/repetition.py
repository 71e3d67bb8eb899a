"""Repetition filter: a decoder caught in a loop. Ours (the paper's decoding forbids repeated trigrams instead)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.limits import LimitFilter
from polite_flamingo.settings import Share


class RepetitionFilter(LimitFilter):
    """At most this share of the words in repeated 4-grams."""

    name: ClassVar[str] = "repetition"
    title: ClassVar[str] = "Repetition"
    axis: ClassVar[str] = "Share of words in repeated 4-grams"
    column: ClassVar[str] = "repeated_share"
    quantity: ClassVar[str] = "of the words repeated"
    decimals: ClassVar[int] = 4

    max_share: Share = Field(0.3, description="ours: share of words in repeated 4-grams")

    @property
    def limit(self) -> float:
        """Largest value that passes."""
        return self.max_share
