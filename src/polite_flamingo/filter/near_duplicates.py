"""Near-duplicate answers within a source; beyond the paper."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from polite_flamingo.settings import Settings


class NearDuplicatesSettings(Settings):
    """Bound of the likeness with an earlier answer of the source."""

    inline: ClassVar[bool] = True
    max_similarity: float | None = Field(None, ge=0, le=1, description="ours; MinHash similarity; null: off")
