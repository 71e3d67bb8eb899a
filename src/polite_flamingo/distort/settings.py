"""Settings of the distortions (section 3.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from polite_flamingo.settings import Settings, Share

Pairs = dict[str, Annotated[int, Field(ge=0)]]


class PairCounts(Settings):
    """Pairs per strategy and source; sources joined by ``+`` share a number."""

    llm_rewrite: Pairs = Field(
        {"llava_instruct": 133_000, "ultrachat + sharegpt": 76_000},
        description="appendix B (Figure 4 writes 113k for LLaVA); by Guanaco-33B",
    )
    text_noise: Pairs = Field({"llava_instruct": 77_000}, description="appendix B")
    retrieve_boxes: Pairs = Field(
        {"llava_instruct": 14_000}, description="appendix B; of samples the language model does not distort"
    )

    @field_validator("*")
    @classmethod
    def _once(cls, pairs: Pairs) -> Pairs:
        names = [name for sources in pairs for name in names_of(sources)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or "" in names:
            raise ValueError(f"a source is named twice or has no name: {', '.join(twice)}")
        return pairs


def names_of(sources: str) -> list[str]:
    """The sources that share a number of pairs."""
    return [name.strip() for name in sources.split("+")]


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

    assignment: Literal["counts", "all"] = Field(
        "counts", description="counts: pairs as `counts` states; all (ours): every pair that can be made"
    )
    counts: PairCounts = Field(
        PairCounts(),
        description="pairs to draw; where responses are too few, fewer of each in proportion",
    )
    llm_rewrite: LlmRewriteSettings = LlmRewriteSettings()
    text_noise: TextNoiseSettings = TextNoiseSettings()
    boxes: BoxesSettings = BoxesSettings()
    held_out_share: Share = Field(
        0.1, description="ours: share of responses kept out of training to measure the rewriter"
    )
