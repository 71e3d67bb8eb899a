"""The vision tower: pixels in, patch tokens out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from polite_flamingo.errors import ModelError
from polite_flamingo.io.text import read_json
from polite_flamingo.model.config import VisionTokens
from polite_flamingo.model.vetting import check_loaded

RECOMPUTED = 8


class VisionTower(nn.Module):
    """A Hugging Face vision model seen as a function from pixels to patch tokens, CLIP's before the post layer norm.

    With `checkpointing` a trained tower keeps no activations; backward recomputes `RECOMPUTED` images at a time.
    """

    checkpointing = False

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
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self._tokens(pixels)
        return torch.cat([checkpoint(self._tokens, part, use_reentrant=False) for part in pixels.split(RECOMPUTED)])

    def _tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.dress(self.visual(pixel_values=pixels).last_hidden_state[:, 1:])

    def dress(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply `VisionTokens` to patch tokens (N, v, d)."""
        if self.tokens.unit_variance:
            tokens = functional.layer_norm(tokens, tokens.shape[-1:])
        if self.tokens.position_code:
            tokens = tokens + position_code(tokens.shape[1], tokens.shape[2], self.tokens.grid).to(tokens)
        return tokens


def tower_class(described: Mapping[str, Any]) -> Any:
    """The class of a tower by its config: `EfficientNetLite` where ``model_type`` names it, else `CLIPVisionModel`."""
    from transformers import CLIPVisionModel

    from polite_flamingo.model.efficientnet import EfficientNetLite, EfficientNetLiteConfig

    return EfficientNetLite if described.get("model_type") == EfficientNetLiteConfig.model_type else CLIPVisionModel


def read_tower(folder: Path) -> Any:
    """The tower in a folder of Hugging Face's form, in float32; a CLIP gives its vision part."""
    described = read_json(folder / "config.json")
    tower, found = tower_class(described).from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    return check_loaded(tower, found, folder)


def resize_vision(vision: Any, pixels: int) -> None:
    """Make a vision model take square images of `pixels`, in place (CLIP's own 224, 336; Figure 9: resolution).

    CLIP's position embeddings are interpolated bicubically over the grid of patches, as Hugging Face does on the fly;
    the class token's is kept. Everything else is untouched; a convolutional tower has nothing to interpolate.

    Raises:
        ModelError: `pixels` is no multiple of the patch size.
    """
    config = vision.config
    patch = int(config.patch_size)
    if pixels < patch or pixels % patch:
        raise ModelError(
            "the resolution must be a multiple of the tower's patch size",
            value=pixels,
            where=f"patch size {patch}",
            next_step=f"for example {max(patch, round(pixels / patch) * patch)}",
        )
    config.image_size, embeddings = pixels, getattr(vision, "embeddings", None)
    if embeddings is None:
        return
    side = pixels // patch
    table = interpolate_positions(embeddings.position_embedding.weight.detach(), side)
    position = nn.Embedding(len(table), table.shape[1], device=table.device, dtype=table.dtype)
    position.weight = nn.Parameter(table, requires_grad=embeddings.position_embedding.weight.requires_grad)
    embeddings.position_embedding = position
    embeddings.image_size = pixels
    embeddings.num_patches, embeddings.num_positions = side**2, side**2 + 1
    embeddings.register_buffer("position_ids", torch.arange(side**2 + 1, device=table.device)[None], persistent=False)


def interpolate_positions(table: torch.Tensor, side: int) -> torch.Tensor:
    """Position embeddings (1 + n*n, d) of a square grid as (1 + side*side, d); the first row, the class token's, stays.

    Raises:
        ModelError: the table is not that of a square grid.
    """
    old = round((len(table) - 1) ** 0.5)
    if old * old + 1 != len(table):
        raise ModelError("position embeddings are not those of a square grid", value=tuple(table.shape))
    if old == side:
        return table.clone()
    grid = table[1:].T.reshape(1, -1, old, old)
    grown = functional.interpolate(grid.float(), size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([table[:1], grown[0].flatten(1).T.to(table.dtype)])


def position_code(patches: int, width: int, grid: int | None = None) -> torch.Tensor:
    """Fixed two-dimensional sine-cosine code (patches, width) of a square grid in row order; values in -1..1.

    Args:
        patches: Number of patches, a square.
        width: Width of the code.
        grid: Count places in a grid with so many patches per side; None: in the patches' own.
    """
    side = round(patches**0.5)
    if side * side != patches or width % 4:
        raise ModelError(
            "a position code needs a square grid of patches and a width divisible by 4", value=(patches, width)
        )
    coordinate = torch.arange(side, dtype=torch.float32)
    if grid is not None and grid != side:
        coordinate = (coordinate + 0.5) * grid / side - 0.5
    frequency = 1.0 / 100 ** (torch.arange(width // 4, dtype=torch.float32) / max(width // 4, 1))
    angle = coordinate[:, None] * frequency
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = wave[:, None].expand(side, side, -1)
    columns = wave[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(patches, width)
