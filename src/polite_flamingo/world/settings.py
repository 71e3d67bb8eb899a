"""Size of the rendered world."""

from __future__ import annotations

from pydantic import Field

from polite_flamingo.settings import Settings


class SceneCounts(Settings):
    """Number of scenes of each split."""

    train: int = Field(gt=0)
    val: int = Field(gt=0)
    test: int = Field(gt=0)
    out_of_domain: int = Field(gt=0)


class WorldSettings(Settings):
    """What the stage `download` renders where there is no real data."""

    image_size: int = Field(ge=16, le=512, description="side of an image, pixels")
    scenes: SceneCounts
