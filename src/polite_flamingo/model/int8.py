"""Weights as eight-bit integers: a scale per output row, for what is shipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.vetting import read_safetensors

SCALE = ".scale"
PART_BYTES = 14_000_000


def to_int8(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices as int8 with a float16 scale per row (its name ends in `SCALE`); all else as float32."""
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            stored[name] = tensor.float()
            continue
        flat = tensor.float().flatten(1)
        scale = (flat.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-7).half().float()
        stored[name] = (flat / scale).round().clamp(-127, 127).to(torch.int8).reshape(tensor.shape).contiguous()
        stored[name + SCALE] = scale[:, 0].half().contiguous()
    return stored


def from_int8(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `to_int8` stored, as float32."""
    tensors = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype == torch.int8:
            scale = stored[name + SCALE].float()
            tensors[name] = tensor.float() * scale.reshape(-1, *[1] * (tensor.ndim - 1))
        else:
            tensors[name] = tensor.float()
    return tensors


def save_int8(tensors: Mapping[str, torch.Tensor], folder: Path, name: str) -> None:
    """Save as int8 to ``<name>-1.safetensors`` and further parts of at most `PART_BYTES`; older parts go."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob(f"{name}-*.safetensors"):
        file.unlink()
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for key, value in to_int8(tensors).items():
        size += value.nbytes
        if size > PART_BYTES:
            parts.append({})
            size = value.nbytes
        parts[-1][key] = value.cpu().contiguous()
    for number, part in enumerate(parts, 1):
        save_file(part, folder / f"{name}-{number}.safetensors")


def load_int8(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """What `save_int8` wrote, as float32.

    Raises:
        ModelError: nothing of this name is there.
    """
    files = sorted(folder.glob(f"{name}-*.safetensors"))
    if not files:
        raise ModelError("weights are missing", value=name, where=folder, next_step="train them (laptop.train)")
    stored: dict[str, torch.Tensor] = {}
    for file in files:
        stored |= read_safetensors(file)
    bare = [key for key, t in stored.items() if t.dtype == torch.int8 and key + SCALE not in stored]
    if bare:
        raise ModelError("weights have no scale", value=bare[:5], where=folder)
    return from_int8(stored)
