"""Unsupported objects: kinds of objects that nothing known about the image supports; beyond the paper, off."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.limits import LimitFilter


class UnsupportedObjectsFilter(LimitFilter):
    """At most this many kinds of objects that nothing known about the image supports (`scorers/checks.py`)."""

    name: ClassVar[str] = "unsupported_objects"
    title: ClassVar[str] = "Unsupported objects"
    axis: ClassVar[str] = "Kinds of objects that nothing known about the image supports"
    column: ClassVar[str] = "unsupported_objects"
    quantity: ClassVar[str] = "objects that nothing supports"

    max_objects: int | None = Field(None, ge=0, description="ours; null: off")

    @property
    def limit(self) -> int | None:
        """Largest value that passes."""
        return self.max_objects
