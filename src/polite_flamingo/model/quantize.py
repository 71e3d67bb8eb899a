"""The decoder's linear layers in four bits, for LoRA on one small GPU (QLoRA: NF4 with double quantisation).

Needs bitsandbytes (the extra ``qlora``). It computes on CUDA; on a CPU its fallback works, but far slower than the
plain weights, so it serves for tests only. The other weights (embeddings, connector, tower) keep their number type.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.model.bundle import FlamingoBundle

LOG = logging.getLogger(__name__)
FORMATS = ("none", "nf4")


def quantize_decoder(bundle: FlamingoBundle, form: str, device: torch.device) -> int:
    """Replace the linear layers of the decoder blocks by NF4 ones on `device`; return how many.

    Raises:
        ModelError: `form` is unknown, bitsandbytes is missing, or the model has LoRA already.
    """
    if form not in FORMATS:
        raise ModelError("unknown quantisation", value=form, next_step=did_you_mean(form, FORMATS))
    if form == "none":
        return 0
    if bundle.lora is not None:
        raise ModelError("a model with LoRA cannot be quantised", next_step="quantise first, then add the LoRA")
    bnb = _bitsandbytes()
    if device.type == "cpu":
        LOG.warning("NF4 on a CPU is far slower than plain weights; it is meant for one small GPU")
    compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    blocks = bundle.model.lang_encoder.old_decoder_blocks
    layers = [(name, layer) for name, layer in blocks.named_modules() if isinstance(layer, nn.Linear)]
    for name, layer in layers:
        small = bnb.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=compute,
            compress_statistics=True,
            quant_type=form,
            device="meta",
        )
        small.weight = bnb.nn.Params4bit(
            layer.weight.data, requires_grad=False, quant_type=form, compress_statistics=True, module=small
        )
        small.bias = None if layer.bias is None else nn.Parameter(layer.bias.data, requires_grad=False)
        small.support_avx512bf16_for_cpu = False  # its layout for inference could neither be trained nor merged
        parent, _, attribute = name.rpartition(".")
        setattr(blocks.get_submodule(parent), attribute, small.to(device))  # the move to a device quantises
    bundle.model.lang_encoder.is_loaded_in_4bit = True  # what peft asks for
    bundle.quantized = form
    return len(layers)


def plain_linear(layer: Any) -> nn.Linear:
    """An NF4 layer as a plain one, with the weights it stands for."""
    bnb = _bitsandbytes()
    weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        linear.bias = nn.Parameter(layer.bias.data, requires_grad=False)
    return linear


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        raise ModelError(
            "NF4 needs bitsandbytes, which is not installed",
            value=str(error),
            next_step="pip install 'polite-flamingo[qlora]', or set lora.quantize: none",
        ) from error
    return bitsandbytes
