"""The vision tower: pixels in, patch tokens out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from polite_flamingo.errors import ModelError
from polite_flamingo.model.config import VisionTokens


class VisionTower(nn.Module):
    """A Hugging Face CLIP vision model seen as a function from pixels to patch tokens before the post layer norm."""

    def __init__(self, visual: nn.Module, tokens: VisionTokens) -> None:
        super().__init__()
        self.visual = visual
        self.tokens = tokens

    @property
    def size(self) -> tuple[int, int]:
        """Number of patch tokens and their width."""
        config: Any = self.visual.config
        return (config.image_size // config.patch_size) ** 2, config.hidden_size

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Patch tokens (N, v, d) of pixels (N, 3, H, W)."""
        return self.dress(self.visual(pixel_values=pixels).last_hidden_state[:, 1:])

    def dress(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply `VisionTokens` to patch tokens (N, v, d)."""
        if self.tokens.unit_variance:
            tokens = functional.layer_norm(tokens, tokens.shape[-1:])
        if self.tokens.position_code:
            tokens = tokens + position_code(tokens.shape[1], tokens.shape[2]).to(tokens)
        return tokens


def position_code(patches: int, width: int) -> torch.Tensor:
    """Fixed two-dimensional sine-cosine code (patches, width) of a square grid in row order; values in -1..1."""
    side = round(patches**0.5)
    if side * side != patches or width % 4:
        raise ModelError(
            "a position code needs a square grid of patches and a width divisible by 4", value=(patches, width)
        )
    frequency = 1.0 / 100 ** (torch.arange(width // 4, dtype=torch.float32) / max(width // 4, 1))
    angle = torch.arange(side, dtype=torch.float32)[:, None] * frequency
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = wave[:, None].expand(side, side, -1)
    columns = wave[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(patches, width)
