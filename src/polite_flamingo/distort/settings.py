"""Settings of the distortions (section 3.1)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polite_flamingo.settings import Settings, Share


class StrategyWeights(Settings):
    """How often each strategy is drawn: number of pairs, in thousands."""

    llm_rewrite: float = Field(209, ge=0, description="133 LLaVA + 76 text-only")
    text_noise: float = Field(77, ge=0)
    retrieve_boxes: float = Field(14, ge=0)


class LlmRewriteSettings(Settings):
    """Settings of the LLM-instructed strategy."""

    command_probability: Share = Field(
        0.5, description="section 3.1.1: one of 24 commands is added with probability 50 %"
    )


class TextNoiseSettings(Settings):
    """Settings of the random text augmentation."""

    level_probability: Share = Field(
        0.5, description="section 3.1.2: each level of augmentation is applied with probability 50 %"
    )


class BoxesSettings(Settings):
    """Settings of the retrieved boxes."""

    decimals: int = Field(3, ge=0, le=6, description="section 3.1.3: normalised x1, y1, x2, y2")


class DistortSettings(Settings):
    """Settings of the stage `distort`."""

    assignment: Literal["weighted", "all"] = Field(
        "weighted",
        description="weighted: one strategy per response, drawn by `weights`; all: every applicable one",
    )
    weights: StrategyWeights = Field(
        StrategyWeights(), description="Figure 4 / appendix B: number of pairs per strategy, in thousands"
    )
    llm_rewrite: LlmRewriteSettings = LlmRewriteSettings()
    text_noise: TextNoiseSettings = TextNoiseSettings()
    boxes: BoxesSettings = BoxesSettings()
    held_out_share: Share = Field(
        0.1, description="ours: share of responses kept out of training to measure the rewriter"
    )
