"""Yes and no: an answer that says no where the annotation says yes; beyond the paper, off by default."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.filter.columns import ScoreBatch
from polite_flamingo.filter.limits import LimitFilter


class YesNoFilter(LimitFilter):
    """No answer turned round, either way (`scorers/checks.py`)."""

    name: ClassVar[str] = "yes_no_flipped"
    title: ClassVar[str] = "Yes and no"
    axis: ClassVar[str] = "1 where the answer says yes for no or no for yes"
    column: ClassVar[str] = "yes_no_flipped"
    quantity: ClassVar[str] = "answer turned round"

    reject_flipped: bool = Field(False, description="ours; false: off")

    @property
    def limit(self) -> int | None:
        """Largest value that passes."""
        return 0 if self.reject_flipped else None

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        return f"{self.name}: the annotation's yes or no is turned round"
