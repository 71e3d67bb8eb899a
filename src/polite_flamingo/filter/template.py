"""Answers of a source that all begin alike; beyond the paper, which criticises M3IT for its templates."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.settings import Settings


class TemplateSettings(Settings):
    """Bound of a source's share that begins with the same words."""

    inline: ClassVar[bool] = True
    max_share: float | None = Field(None, gt=0, le=1, description="ours; null: off")
