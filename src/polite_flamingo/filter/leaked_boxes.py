"""Leaked boxes: coordinates from the annotation that the rewriter copied instead of putting into words. Ours."""

from __future__ import annotations

from dataclasses import dataclass

from polite_flamingo.records import Rewrite, Verdict
from polite_flamingo.scorers.text import count_boxes


@dataclass(frozen=True, slots=True)
class LeakedBoxesFilter:
    """Looks at the text itself."""

    max_boxes: int
    name: str = "leaked_boxes"

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject a text with more than `max_boxes` bounding boxes."""
        boxes = count_boxes(rewrite.rewritten)
        if boxes > self.max_boxes:
            return Verdict(f"leaked_boxes: {boxes} boxes, more than {self.max_boxes}", boxes)
        return Verdict(score=boxes)
