"""Numbers changed: those that annotation and rewrite do not share; beyond the paper, off by default."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.limits import LimitFilter


class NumbersFilter(LimitFilter):
    """At most this many numbers lost, invented or replaced (`scorers/checks.py`)."""

    name: ClassVar[str] = "numbers_changed"
    title: ClassVar[str] = "Numbers changed"
    axis: ClassVar[str] = "Numbers lost, invented or replaced"
    column: ClassVar[str] = "numbers_changed"
    quantity: ClassVar[str] = "numbers changed"

    max_changed: int | None = Field(None, ge=0, description="ours; null: off")

    @property
    def limit(self) -> int | None:
        """Largest value that passes."""
        return self.max_changed
