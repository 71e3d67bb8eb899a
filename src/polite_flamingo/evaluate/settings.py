"""Settings of the evaluation (section 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polite_flamingo.settings import Settings

Measured = Literal["annotation", "raw", "stage1", "stage2", "stage3", "stage3_without_image"]


class EvaluateSettings(Settings):
    """Whose answers are measured, and how they are decoded where `generation` is not followed."""

    models: list[Measured] = Field(
        ["annotation", "raw", "stage1", "stage2", "stage3", "stage3_without_image"],
        min_length=1,
        description="ours: whose answers are measured",
    )
    bootstrap_samples: int = Field(1000, gt=0, description="ours: 95 % intervals")
    max_new_tokens: int = Field(128, gt=0, description="ours")
    do_sample: bool = Field(True, description="readme: inferencer(...) defaults; manners are a matter of distribution")
    temperature: float = Field(1.0, gt=0, description="readme")
