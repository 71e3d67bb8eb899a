"""EfficientNet-Lite as a vision tower: the convolutional network of ordinary packages in the place of CLIP's.

The architecture is that of ``efficientnet-lite-pytorch`` (Apache-2.0; TensorFlow's "same" padding, ReLU6, no squeeze
and excitation), its batch norms folded into the convolutions, which changes nothing else. The 1,280 channels of the
last map are projected to `hidden_size` by a fixed matrix, so that what stands on the tower stays small.
``last_hidden_state`` has the mean of the map first, where CLIP has its class token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from polite_flamingo.errors import ModelError

CHANNELS = 1280  # of the last map
MEAN, STD = (0.498039, 0.498039, 0.498039), (0.501961, 0.501961, 0.501961)  # (x - 127) / 128
STEM = 32
BATCH_NORM_EPSILON = 1e-3
STAGES = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SIZES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}


class EfficientNetLiteConfig(PretrainedConfig):
    """Sizes of an `EfficientNetLite`.

    Args:
        size: One of `SIZES`.
        image_size: Side of the images in pixels.
        hidden_size: Width of the projected tokens.
    """

    model_type = "efficientnet_lite"
    patch_size = 32

    def __init__(self, size: str = "lite2", image_size: int = 224, hidden_size: int = 384, **kwargs: Any) -> None:
        self.size, self.image_size, self.hidden_size = size, image_size, hidden_size
        super().__init__(**kwargs)


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": the odd pixel goes to the right and the bottom."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W)."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        height, width = (max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
        if height or width:
            x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(x)


class InvertedBottleneck(nn.Module):
    """Expand, filter by channel, project; added to its input where the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = SameConv(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W)."""
        inner = x if self.expand is None else functional.relu6(self.expand(x))
        out = self.project(functional.relu6(self.depthwise(inner)))
        return x + out if self.residual else out


class EfficientNetLite(PreTrainedModel):
    """Images (N, 3, H, W) -> mean and patch tokens (N, 1 + v, hidden_size); see the module's text."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    base_model_prefix = ""

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        wide, deep = SIZES[config.size]
        self.stem = SameConv(3, STEM, 3, 2)
        blocks, inputs = [], STEM
        for index, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            outputs = _rounded(channels * wide)
            fixed = index in (0, len(STAGES) - 1)
            for repeat in range(repeats if fixed else math.ceil(repeats * deep)):
                blocks.append(InvertedBottleneck(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv(inputs, CHANNELS, 1)
        self.projection = nn.Linear(CHANNELS, config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Fresh layers keep PyTorch's initialisation."""

    def maps(self, pixels: torch.Tensor) -> torch.Tensor:
        """The last map (N, 1280, H / 32, W / 32)."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # half as slow again otherwise on CPUs
        x = functional.relu6(self.stem(pixels))
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.head(x))

    def forward(self, pixel_values: torch.Tensor) -> BaseModelOutputWithPooling:
        """Projected tokens, their mean first, and the mean of the map itself (N, 1280) as ``pooler_output``."""
        tokens = self.maps(pixel_values).flatten(2).transpose(1, 2)
        pooled = tokens.mean(dim=1)
        projected = self.projection(torch.cat([pooled[:, None], tokens], dim=1))
        return BaseModelOutputWithPooling(last_hidden_state=projected, pooler_output=pooled)


def read_efficientnet(checkpoint: Path, config: EfficientNetLiteConfig) -> EfficientNetLite:
    """An `EfficientNetLite` with the weights of a package's ``.pth``, read as tensors only; the projection is fresh.

    Raises:
        ModelError: the file cannot be read without unpickling, or does not fit the size.
    """
    try:
        weights: Mapping[str, torch.Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling errors come in many types
        raise ModelError("weights of the tower cannot be read", value=str(error)[:200], where=checkpoint) from error
    model = EfficientNetLite(config).eval()
    tensors = {f"projection.{name}": value for name, value in model.projection.state_dict().items()}
    try:
        _fold(tensors, weights, "stem", "_conv_stem", "_bn0")
        _fold(tensors, weights, "head", "_conv_head", "_bn1")
        for index, block in enumerate(model.blocks):
            own, theirs = f"blocks.{index}.", f"_blocks.{index}."
            if block.expand is not None:
                _fold(tensors, weights, own + "expand", theirs + "_expand_conv", theirs + "_bn0")
            _fold(tensors, weights, own + "depthwise", theirs + "_depthwise_conv", theirs + "_bn1")
            _fold(tensors, weights, own + "project", theirs + "_project_conv", theirs + "_bn2")
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise ModelError("weights are not of this tower", value=str(error)[:200], where=checkpoint) from error
    return model


def _fold(
    tensors: dict[str, torch.Tensor], weights: Mapping[str, torch.Tensor], own: str, convolution: str, norm: str
) -> None:
    """Fold a batch norm into its convolution, contiguous: the packages' tensors have TensorFlow's strides."""
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
    tensors[f"{own}.weight"] = (weights[f"{convolution}.weight"] * scale[:, None, None, None]).contiguous()
    tensors[f"{own}.bias"] = (weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale).contiguous()


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, at most a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
