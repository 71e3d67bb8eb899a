"""What a training learned: LoRA and every base tensor it changed, as safetensors, tied to its base by hash.

Beside the weights lie ``config.json`` (what is needed to load them), ``training.json`` (the resolved settings they were
trained with), the tokenizer and ``README.md``, the model card.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.io.files import replacing, write_atomic
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.model.bundle import FlamingoBundle, named_tensors
from polite_flamingo.model.card import render_card
from polite_flamingo.model.freezing import GROUPS, group_of
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.model.vetting import read_safetensors

MAX_PIXELS = 4096  # per side
WEIGHTS, CONFIG, TRAINING, CARD = "trainables.safetensors", "config.json", "training.json", "README.md"


def collect_trainables(bundle: FlamingoBundle) -> dict[str, torch.Tensor]:
    """LoRA tensors and the base tensors that differ from the base, on the CPU, by name."""
    learned_tensors: dict[str, torch.Tensor] = {}
    for name, tensor in named_tensors(bundle.model).items():
        learned = re.search(GROUPS["lora"], name) is not None
        if learned or name in bundle.base:
            value = tensor.detach().cpu().contiguous()
            if learned or not torch.equal(value.float(), bundle.base[name].float()):
                learned_tensors[name] = value
    return learned_tensors


def save_trainables(
    bundle: FlamingoBundle, folder: Path, *, configuration: Mapping[str, Any] | None = None, name: str | None = None
) -> None:
    """Write what was learned into `folder` (see the module's text); the same weights give the same bytes.

    Args:
        bundle: The trained model.
        folder: Where to.
        configuration: Resolved settings of the training, without those of the machine.
        name: What was trained, for the card; default: the folder's name.

    Raises:
        ModelError: nothing was trained.
    """
    from safetensors.torch import save_file

    tensors = collect_trainables(bundle)
    if not tensors:
        raise ModelError("nothing to save: the model has no LoRA and equals its base", where=folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / WEIGHTS) as tmp:
        save_file(tensors, tmp)
    bundle.tokenizer.save_pretrained(folder)
    lora = None if bundle.lora is None else bundle.lora.model_dump()
    settings = json.loads(json.dumps(dict(configuration or {}), default=str))
    write_json(folder / TRAINING, settings)
    card = render_card(
        name or folder.name,
        whole=False,
        base=bundle.base_hash,
        tensors=count_values(tensors),
        lora=lora,
        configuration=settings,
    )
    write_atomic(folder / CARD, card)
    config: dict[str, Any] = {"base": bundle.base_hash, "lora": lora, "tensors": len(tensors)}
    if bundle.resolution is not None:
        config["resolution"] = bundle.resolution
    write_json(folder / CONFIG, config)  # last: a folder without it is incomplete


def count_values(tensors: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Number of values per group of weights."""
    counts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        counts[group_of(name)] += tensor.numel()
    return dict(counts)


def load_trainables(bundle: FlamingoBundle, folder: Path) -> int:
    """Put a training's result onto its base (injecting LoRA if needed); return the number of tensors.

    Raises:
        ModelError: the folder is incomplete, belongs to another base, or matches no or only some tensors.
    """
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise ModelError(
                "trained weights are missing", value=name, where=folder, next_step="`polite-flamingo run` trains them"
            )
    config = _config(folder / CONFIG)
    _check_base(bundle, config, folder)
    tensors = read_safetensors(folder / WEIGHTS)
    _match_lora(bundle, config.get("lora"), tensors, folder)
    known = named_tensors(bundle.model)
    fitting = [name for name in tensors if name in known and known[name].shape == tensors[name].shape]
    if not fitting or len(fitting) != len(tensors):
        raise ModelError(
            f"{len(fitting)} of {len(tensors)} trained tensors match the model",
            value=sorted(set(tensors) - set(fitting))[:5],
            where=folder,
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            if ".lora_" not in name and name not in bundle.base:
                bundle.base[name] = known[name].detach().cpu().clone()
            known[name].copy_(tensor)
    if any(name.startswith("vision_encoder.") for name in tensors):
        bundle.clear_cache()
    return len(tensors)


def _check_base(bundle: FlamingoBundle, config: Mapping[str, Any], folder: Path) -> None:
    if config.get("base") != bundle.base_hash:
        raise ModelError(
            "trained weights belong to another base",
            value=config.get("base"),
            where=folder,
            next_step=f"train them again on this base ({bundle.base_hash})",
        )
    if config.get("resolution") != bundle.resolution:
        raise ModelError(
            "trained weights belong to another resolution (None: the tower's own)",
            value=config.get("resolution"),
            where=folder,
            next_step=f"load the base with that resolution; it has {bundle.resolution}",
        )


def _config(path: Path) -> Mapping[str, Any]:
    config = read_json(path)
    if not isinstance(config, dict):
        raise ModelError("the description of trained weights is no object", value=type(config).__name__, where=path)
    return config


def _match_lora(bundle: FlamingoBundle, stored: Any, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Give the model the LoRA that was trained, or check that it has it."""
    try:
        lora = None if stored is None else LoraSettings.model_validate(stored)
    except ValueError as error:
        raise ModelError("trained weights name no usable LoRA", value=str(error), where=folder / CONFIG) from None
    if lora is not None and not any(lora.r in tensor.shape for tensor in tensors.values()):
        raise ModelError("no trained tensor has the rank of the LoRA", value=lora.r, where=folder / CONFIG)
    if lora is not None and bundle.lora is None:
        inject_lora(bundle, lora)
    elif lora is not None and bundle.lora != lora:
        raise ModelError(
            "trained weights use other LoRA settings",
            value=lora,
            where=folder,
            next_step=f"the model has {bundle.lora}",
        )


def trained_resolution(folder: Path) -> int | None:
    """Resolution in pixels that a training's images had, where it is not the tower's own."""
    path = folder / CONFIG
    value = _config(path).get("resolution") if path.is_file() else None
    if value is not None and (type(value) is not int or not 0 < value <= MAX_PIXELS):
        raise ModelError("trained weights name no usable resolution", value=value, where=path)
    return value
