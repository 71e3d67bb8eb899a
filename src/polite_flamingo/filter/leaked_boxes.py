"""Leaked boxes: coordinates of the annotation that the rewriter copied instead of putting into words. Ours."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.limits import LimitFilter


class LeakedBoxesFilter(LimitFilter):
    """At most this many bounding boxes in the text."""

    name: ClassVar[str] = "leaked_boxes"
    title: ClassVar[str] = "Leaked boxes"
    axis: ClassVar[str] = "Bounding boxes in the text"
    column: ClassVar[str] = "boxes"
    quantity: ClassVar[str] = "boxes"

    max_boxes: int = Field(0, ge=0, description="ours: bounding boxes left in a rewrite")

    @property
    def limit(self) -> int:
        """Largest value that passes."""
        return self.max_boxes
