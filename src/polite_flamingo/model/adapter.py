"""LoRA that starts from an existing adapter in PEFT's format, as the paper's starts from Guanaco (appendix A)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.layouts import canonical, read_tensors, spellings
from polite_flamingo.model.vetting import read_adapter

LOG = logging.getLogger(__name__)
CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PLAIN: dict[str, Any] = {  # settings that would make it another computation than ours, and their harmless values
    "use_dora": False,
    "use_rslora": False,
    "fan_in_fan_out": False,
    "lora_bias": False,
    "bias": "none",
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
}


def load_adapter(bundle: FlamingoBundle, folder: Path) -> int:
    """Copy an adapter's tensors into the model's LoRA; return how many.

    Layers that the adapter leaves out keep their fresh LoRA, which is the identity.

    Args:
        bundle: A model with LoRA.
        folder: Holds ``adapter_config.json`` and ``adapter_model.safetensors`` (or ``.bin``, read without unpickling).

    Raises:
        ModelError: a file is missing or damaged, rank or scale differ from the model's LoRA, or tensors do not fit.
    """
    if bundle.lora is None:
        raise ModelError("the model has no LoRA to load an adapter into", where=folder, next_step="inject LoRA first")
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / CONFIG).is_file():
        raise ModelError(
            "not a folder of a LoRA adapter",
            value=str(folder),
            where="lora.start_from",
            next_step=f"it needs {CONFIG} and {WEIGHTS[0]}, as PEFT writes them",
        )
    _check_config(bundle, folder)
    known = spellings(bundle)
    tensors = {canonical(name, known, bundle.config.decoder_layers): t for name, t in read_tensors(weights).items()}
    parameters = dict(bundle.model.named_parameters(remove_duplicate=False))
    unexpected = [name for name in tensors if name not in parameters or ".lora_" not in name]
    if unexpected:
        raise ModelError(
            f"{len(unexpected)} of {len(tensors)} tensors of the adapter have no place in this model",
            value=sorted(unexpected)[:5],
            where=weights,
            next_step="the adapter must belong to the same family and size of language model",
        )
    wrong = [
        (n, tuple(t.shape), tuple(parameters[n].shape)) for n, t in tensors.items() if t.shape != parameters[n].shape
    ]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors of the adapter have another shape (name, adapter, model)",
            value=wrong[:3],
            where=weights,
            next_step="the adapter must belong to the same size of language model",
        )
    if not tensors:
        raise ModelError("the adapter holds no tensor", where=weights)
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
    fresh = sum(".lora_" in name for name in set(known.values())) - len(tensors)
    LOG.info("LoRA starts from %s: %d tensors, %d of other layers stay fresh", folder, len(tensors), fresh)
    return len(tensors)


def alpha_of(path: Path) -> int:
    """Alpha that an ``adapter_config.json`` states.

    Raises:
        ModelError: it states none, or is of another method than plain LoRA.
    """
    config = _plain_config(path)
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int) or isinstance(alpha, bool) or alpha <= 0:
        raise ModelError(
            "the adapter's configuration states no alpha", value=alpha, where=path, next_step="pass it: --alpha N"
        )
    return alpha


def _plain_config(path: Path) -> dict[str, Any]:
    config = read_adapter(path)
    odd = {key: config[key] for key, plain in PLAIN.items() if config.get(key, plain) not in (plain, None, {}, [])}
    if odd:
        raise ModelError("the adapter uses a variant of LoRA that is not implemented", value=odd, where=path)
    return config


def _check_config(bundle: FlamingoBundle, folder: Path) -> None:
    where = folder / CONFIG
    config = _plain_config(where)
    stored = {"r": config.get("r"), "alpha": config.get("lora_alpha")}
    expected = {"r": bundle.lora.r, "alpha": bundle.lora.alpha}
    if stored != expected:
        raise ModelError(
            "the adapter has another rank or scale than the settings",
            value=stored,
            where=where,
            next_step=f"the settings say {expected}: set lora.r and lora.alpha to the adapter's",
        )
