"""A scorer of image and text where no CLIP is at hand: two frozen encoders of ordinary packages, projections trained.

The tower is an EfficientNet-Lite, the text encoder a sentence-transformer; `Projections` bring both into one space. The
model answers as Hugging Face's `CLIPModel` does where `scorers.clip` asks it.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.model.efficientnet import (
    CHANNELS,
    MEAN,
    STD,
    EfficientNetLite,
    EfficientNetLiteConfig,
    read_efficientnet,
)
from polite_flamingo.model.int8 import load_int8, save_int8
from polite_flamingo.model.vetting import check_finite, loading, read_safetensors, vet

CONFIG = "image_text.json"
HEADS = "projections"  # ….safetensors, as int8
TEXT, TOWER = "text", "tower.safetensors"  # in a folder that is ready for use


class Projections(nn.Module):
    """What is trained: attention over the map of an image and a small network over a text's embedding.

    Args:
        text_width: Width of the sentence embeddings.
        width: Of the common space.
        heads: Of the attention.
        tokens: Cells of the map.
        dropout: In training.
    """

    def __init__(
        self, text_width: int, width: int = 512, heads: int = 8, tokens: int = 49, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.sizes = {"text_width": text_width, "width": width, "heads": heads, "tokens": tokens}
        self.cells = nn.Linear(CHANNELS, width)
        self.cells_norm = nn.LayerNorm(width)
        self.positions = nn.Parameter(torch.zeros(tokens, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.pooled = nn.Linear(CHANNELS, width)
        self.image = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout))
        self.image_out = nn.Linear(width, width)
        self.text_in = nn.Sequential(nn.Linear(text_width, 2 * width), nn.GELU(), nn.Dropout(dropout))
        self.text_out = nn.Linear(2 * width, width)
        self.text_skip = nn.Linear(text_width, width, bias=False)
        self.drop = nn.Dropout(dropout)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def images(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalised features of maps (N, cells, 1280)."""
        pooled = self.pooled(self.drop(maps.mean(dim=1)))
        cells = self.cells_norm(self.cells(self.drop(maps))) + self.positions
        attended = self.attention(pooled[:, None], cells, cells, need_weights=False)[0][:, 0]
        return functional.normalize(self.image_out(self.image(pooled + attended)) + pooled, dim=-1)

    def texts(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Normalised features of sentence embeddings (N, text_width)."""
        return functional.normalize(self.text_out(self.text_in(embeddings)) + self.text_skip(embeddings), dim=-1)


class ImageText(nn.Module):
    """Tower, text encoder and projections together; see the module's text."""

    def __init__(self, tower: EfficientNetLite, text: Any, heads: Projections) -> None:
        super().__init__()
        self.tower, self.text, self.heads = tower, text, heads
        self.config = SimpleNamespace(text_config=text.config, vision_config=tower.config)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.heads.pooled.weight.dtype

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features of prepared images."""
        return self.heads.images(self.tower.maps(pixel_values).flatten(2).transpose(1, 2))

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Features of tokenised texts."""
        return self.heads.texts(embed(self.text, input_ids, attention_mask).to(self.dtype))


def embed(encoder: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Normalised mean of a text encoder's last states over the tokens of each text."""
    states = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    mask = attention_mask[:, :, None].to(states.dtype)
    return functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)


def save_projections(heads: Projections, folder: Path, *, text: str, tower: str, image_size: int) -> None:
    """Save what was trained, matrices as int8; the frozen encoders are named by origin and package."""
    save_int8({name: tensor.detach() for name, tensor in heads.state_dict().items()}, folder, HEADS)
    write_json(folder / CONFIG, {"text": text, "tower": tower, "image_size": image_size, "sizes": heads.sizes})


def load_projections(folder: Path) -> Projections:
    """What `save_projections` saved, in float32.

    Raises:
        ModelError: the file does not fit its sizes.
    """
    with loading("projections", folder):
        heads = Projections(**read_json(folder / CONFIG)["sizes"])
        heads.load_state_dict(load_int8(folder, HEADS))
    return heads.eval()


def load_image_text(folder: Path, dtype: torch.dtype) -> ImageText:
    """A folder that `model.origins` made ready: projections, tower and text encoder.

    Raises:
        ModelError: something of it is missing.
    """
    from transformers import AutoModel

    with loading("image-text scorer", folder):
        vet(folder)
        tower = EfficientNetLite(EfficientNetLiteConfig(image_size=read_json(folder / CONFIG)["image_size"]))
        tower.load_state_dict(read_safetensors(folder / TOWER), strict=False)
        text = AutoModel.from_pretrained(
            folder / TEXT, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        check_finite(text.named_parameters(), folder / TEXT)
    return ImageText(tower, text, load_projections(folder)).to(dtype).eval()


def save_tower(checkpoint: Path, file: Path) -> None:
    """Keep the tower of a package as safetensors, without its projection."""
    from safetensors.torch import save_file

    weights = read_efficientnet(checkpoint, EfficientNetLiteConfig()).state_dict()
    save_file({name: t.contiguous() for name, t in weights.items() if not name.startswith("projection.")}, file)


def preprocessing(pixels: int) -> dict[str, Any]:
    """The tower's ``preprocessor_config.json``: the whole picture squeezed to a square, as in training."""
    return {
        "size": {"height": pixels, "width": pixels},
        "do_center_crop": False,
        "image_mean": list(MEAN),
        "image_std": list(STD),
    }
