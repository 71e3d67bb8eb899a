"""Sizes of a Flamingo: ``config.json`` of a model folder. Imports no PyTorch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from polite_flamingo.errors import ModelError, did_you_mean

DECODER_LAYERS = {  # model type -> attribute path of the decoder blocks
    "llama": "model.layers",
    "mistral": "model.layers",
    "gpt_neox": "gpt_neox.layers",
    "gpt_neo": "transformer.h",
    "gptj": "transformer.h",
    "opt": "model.decoder.layers",
    "mpt": "transformer.blocks",
}
LARGEST = 4096  # of a size of perceiver and cross-attention
_ATTRIBUTES = re.compile(r"[a-z]\w*(\.[a-z]\w*)*")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")


@dataclass(frozen=True, slots=True)
class Perceiver:
    """Sizes of the perceiver resampler; the defaults are OpenFlamingo's."""

    depth: int = 6
    num_latents: int = 64
    dim_head: int = 64
    heads: int = 8


@dataclass(frozen=True, slots=True)
class CrossAttention:
    """Sizes of the gated cross-attention; the defaults are OpenFlamingo's."""

    dim_head: int = 64
    heads: int = 8


@dataclass(frozen=True, slots=True)
class VisionTokens:
    """What is done to the patch tokens of a small tower, whose tokens lose their position; off for real towers.

    Args:
        unit_variance: Scale every token to zero mean and unit variance.
        position_code: Add a fixed two-dimensional sine-cosine code of the patch's place.
        grid: Patches per side that the code was made for; None: the tower's own. At another resolution the patches
            get the code of their place in that grid.
    """

    unit_variance: bool = False
    position_code: bool = False
    grid: int | None = None


@dataclass(frozen=True, slots=True)
class FlamingoConfig:
    """``config.json`` of a model folder.

    Args:
        cross_attn_every_n_layers: A gated cross-attention stands before every n-th decoder block.
        perceiver: Sizes of the resampler.
        xattn: Sizes of the cross-attention.
        decoder_layers: Attribute path of the decoder blocks, or "auto" (by model type).
        vision_tokens: Treatment of the patch tokens.
        attend_previous: True: text attends to the last image before it (OpenFlamingo 2); False: to the next one after
            it (OpenFlamingo 1, the paper's base).
    """

    cross_attn_every_n_layers: int = 4
    perceiver: Perceiver = field(default_factory=Perceiver)
    xattn: CrossAttention = field(default_factory=CrossAttention)
    decoder_layers: str = "auto"
    vision_tokens: VisionTokens = field(default_factory=VisionTokens)
    attend_previous: bool = True

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = None) -> FlamingoConfig:
        """Parse `config.json`; an unknown key is a `ModelError`."""
        parts: dict[str, Any] = {"perceiver": Perceiver, "xattn": CrossAttention, "vision_tokens": VisionTokens}
        known = cls.__dataclass_fields__
        for key in values:
            if key not in known:
                raise ModelError(
                    "unknown key in a Flamingo's config", value=key, where=where, next_step=did_you_mean(key, known)
                )
        try:
            config = cls(**{key: parts[key](**value) if key in parts else value for key, value in values.items()})
            config.check()
        except (TypeError, ValueError) as error:
            raise ModelError("a Flamingo's config cannot be used", value=str(error), where=where) from error
        return config

    def check(self) -> None:
        """Compare every value with what a model can have.

        Raises:
            ValueError: one is of another type, or absurd.
        """
        sizes = {**asdict(self.perceiver), **asdict(self.xattn), "every": self.cross_attn_every_n_layers}
        sizes["grid"] = 1 if self.vision_tokens.grid is None else self.vision_tokens.grid
        for name, size in sizes.items():
            if type(size) is not int or not 0 < size <= LARGEST:
                raise ValueError(f"{name}: {size!r} is no size from 1 to {LARGEST}")
        if not isinstance(self.decoder_layers, str) or not _ATTRIBUTES.fullmatch(self.decoder_layers):
            raise ValueError(f"decoder_layers: {self.decoder_layers!r} is no path of attributes")
