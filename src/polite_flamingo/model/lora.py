"""LoRA on every linear layer of the decoder: attention and feed-forward (appendix A of arXiv 2307.01003)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.model.adapter import load_adapter
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.origins import find_adapter
from polite_flamingo.model.quantize import plain_linear
from polite_flamingo.model.settings import LoraSettings

_LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TARGETS = {  # model type -> names of the decoder's linear layers
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "gpt_neox": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "gpt_neo": ("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"),
    "gptj": ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "mpt": ("Wqkv", "out_proj", "up_proj", "down_proj"),
}


def inject_lora(
    bundle: FlamingoBundle, settings: LoraSettings, *, seed: int = 0, start_from: Path | str | None = None
) -> int:
    """Put adapters on the decoder's linear layers. Return how many.

    Args:
        bundle: The model; all its weights are frozen.
        settings: Rank, scale, dropout.
        seed: Seed of the fresh adapters, which start as the identity.
        start_from: Adapter in PEFT's format to start from instead: a folder, or hub:<id>@<revision> (see
            `model.origins.find_adapter` and `model.adapter`).

    Raises:
        ModelError: the model already has adapters, its family is unknown, or `start_from` does not fit.
    """
    from peft import LoraConfig, inject_adapter_in_model

    from polite_flamingo.model.folded import FoldedLora

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
    if not bundle.quantized:
        config._register_custom_module({torch.nn.Linear: FoldedLora})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, lm)
    layers = lora_layers(bundle)
    if not layers:
        raise ModelError("LoRA matched no layer", value=targets, where=lm.config.model_type)
    for _, layer in layers:
        layer.to(bundle.device)
    bundle.model.requires_grad_(False)
    bundle.model.eval()
    bundle.lora = LoraSettings.of(settings)
    if start_from is not None:
        load_adapter(bundle, find_adapter(str(start_from)))
    return len(layers)


def merge_lora(bundle: FlamingoBundle, *, keep: bool = False) -> None:
    """Fold the adapters into the weights: same function, faster.

    Args:
        bundle: The model.
        keep: Keep the adapters beside, so that `unmerge_lora` can take them out again; otherwise the plain linear
            layers are put back (those of a quantised model in their full size).

    Raises:
        ModelError: the adapters of a quantised model cannot be kept: its weights would be rounded again.
    """
    lm = bundle.model.lang_encoder
    if keep and bundle.quantized:
        raise ModelError("the LoRA of a quantised model cannot be merged and kept", value=bundle.quantized)
    for name, layer in lora_layers(bundle):
        if keep:
            if not layer.merged:
                layer.merge()
            continue
        if bundle.quantized:
            base = plain_linear(layer.base_layer)
            base.weight.data += layer.get_delta_weight("default").to(base.weight)
        else:
            if not layer.merged:
                layer.merge()
            base = layer.base_layer
        parent, _, attribute = name.rpartition(".")
        setattr(lm.get_submodule(parent), attribute, base)
    if keep:
        return
    if hasattr(lm, "peft_config"):
        del lm.peft_config
    bundle.lora = bundle.quantized = None


def unmerge_lora(bundle: FlamingoBundle) -> None:
    """Take adapters that were merged and kept out of the weights again; equal to before up to rounding.

    Raises:
        ModelError: no adapters are merged and kept.
    """
    layers = [layer for _, layer in lora_layers(bundle) if layer.merged]
    if not layers:
        raise ModelError("no merged LoRA to take out", next_step="merge it with keep=True")
    for layer in layers:
        layer.unmerge()


def lora_layers(bundle: FlamingoBundle) -> list[tuple[str, Any]]:
    """The layers with adapters, each once, by their name within the language model."""
    from peft.tuners.lora import LoraLayer

    return [(name, m) for name, m in bundle.model.lang_encoder.named_modules() if isinstance(m, LoraLayer)]
