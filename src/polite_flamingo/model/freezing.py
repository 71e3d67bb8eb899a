"""What learns at each stage (section 4.3, Table 4 and appendix A of arXiv 2307.01003).

"XATTN unfrozen" means the cross-attention layers themselves; their feed-forward stays frozen (appendix A). The paper
does not mention the tanh gates; we let the attention's gate (``attn_gate``) learn with its attention and keep the
feed-forward's (``ff_gate``) frozen with its feed-forward.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.model.bundle import FlamingoBundle, named_tensors
from polite_flamingo.model.lora import lora_layers

_XATTN = r"^lang_encoder\.gated_cross_attn_layers\.\d+\."
GROUPS = {  # name -> pattern over the names of `model.bundle.named_tensors`
    "lora": r"\.lora_[AB]\.",
    "perceiver": r"^perceiver\.",
    "xattn": _XATTN + r"(attn\.|attn_gate$)",
    "xattn_ff": _XATTN + r"(ff\.|ff_gate$)",  # only for pretraining a connector
    "embeddings": r"^lang_encoder\..*(embed_tokens|embed_in|wte|lm_head|embed_out)\.weight$",  # likewise
    "lm": r"^lang_encoder\.(?!gated_cross_attn_layers\.)(?!.*\.lora_[AB]\.)",  # likewise
    "vision": r"^vision_encoder\.",
}
ORDER = ("lora", "perceiver", "xattn", "xattn_ff", "embeddings", "vision", "lm")  # a tensor counts for the first


def set_trainable(bundle: FlamingoBundle, groups: Sequence[str]) -> dict[str, int]:
    """Freeze everything but `groups`; return the number of trainable values per group.

    The base's tensors that become trainable are copied into ``bundle.base``, so that what changed can be saved later.

    Raises:
        ModelError: a group is unknown or matches no tensor.
    """
    unknown = [name for name in groups if name not in GROUPS]
    if unknown:
        raise ModelError("unknown group of weights", value=unknown, next_step=did_you_mean(unknown[0], GROUPS))
    if "lora" in groups and any(layer.merged for _, layer in lora_layers(bundle)):
        raise ModelError("merged LoRA does not learn", next_step="take it out with unmerge_lora first")
    bundle.model.requires_grad_(False)
    tensors = named_tensors(bundle.model)
    counts: dict[str, int] = {}
    for group in groups:
        matched = {name: tensor for name, tensor in tensors.items() if re.search(GROUPS[group], name)}
        if not matched:
            raise ModelError(
                "a group to train matches no tensor",
                value=group,
                next_step="inject LoRA first" if group == "lora" else None,
            )
        for name, tensor in matched.items():
            tensor.requires_grad_(True)
            if group != "lora" and name not in bundle.base:
                bundle.base[name] = tensor.detach().cpu().clone()
        counts[group] = sum(tensor.numel() for tensor in matched.values())
    return counts


def group_of(name: str) -> str:
    """The group of weights that a tensor counts for."""
    return next(group for group in ORDER if re.search(GROUPS[group], name))


def trainable_tensors(bundle: FlamingoBundle) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: tensor for name, tensor in named_tensors(bundle.model).items() if tensor.requires_grad}
