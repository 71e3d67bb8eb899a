"""LoRA on every linear layer of the decoder: attention and feed-forward (appendix A of arXiv 2307.01003)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polite_flamingo.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from polite_flamingo.model.flamingo import FlamingoBundle

_LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = {  # model type -> names of the decoder's linear layers
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "gpt_neox": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "gpt_neo": ("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"),
    "gptj": ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Rank, scale numerator and dropout of the adapters (appendix A: rank 64)."""

    r: int = 64
    alpha: int = 64
    dropout: float = 0.0


def inject_lora(bundle: FlamingoBundle, settings: LoraSettings, *, seed: int = 0) -> int:
    """Put adapters on the decoder's linear layers; they start as the identity. Return how many.

    Raises:
        ModelError: the model already has adapters or its family is unknown.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if bundle.lora is not None:
        raise ModelError("the model already has LoRA", value=bundle.lora)
    lm = bundle.model.lang_encoder
    targets = TARGETS.get(lm.config.model_type)
    if targets is None:
        raise ModelError(
            "no LoRA targets known for this language model",
            value=lm.config.model_type,
            next_step=did_you_mean(lm.config.model_type, TARGETS),
        )
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias="none",
        target_modules=list(targets),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, lm)
    layers = _layers(lm)
    if not layers:
        raise ModelError("LoRA matched no layer", value=targets, where=lm.config.model_type)
    for _, layer in layers:
        layer.to(bundle.device)
    bundle.model.requires_grad_(False)
    bundle.model.eval()
    bundle.lora = settings
    return len(layers)


def merge_lora(bundle: FlamingoBundle) -> None:
    """Fold the adapters into the weights and put the plain linear layers back: same function, faster."""
    lm = bundle.model.lang_encoder
    for name, layer in _layers(lm):
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(lm.get_submodule(parent), attribute, layer.base_layer)
    if hasattr(lm, "peft_config"):
        del lm.peft_config
    bundle.lora = None


def _layers(lm: nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    return [(name, module) for name, module in lm.named_modules() if isinstance(module, LoraLayer)]
