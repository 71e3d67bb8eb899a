"""Checkpoints as the original code writes them, made of a micro model's own tensors."""

from __future__ import annotations

import re
from typing import Any

from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.freezing import group_of

_TO_OPEN_CLIP = (
    (r"^embeddings\.patch_embedding\.", "conv1."),
    (r"^embeddings\.class_embedding$", "class_embedding"),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^pre_layrnorm\.", "ln_pre."),
    (r"^post_layernorm\.", "ln_post."),
    (r"^encoder\.layers\.(\d+)\.layer_norm(\d)\.", r"transformer.resblocks.\1.ln_\2."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"transformer.resblocks.\1.attn.out_proj."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc1\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"^encoder\.layers\.(\d+)\.mlp\.fc2\.", r"transformer.resblocks.\1.mlp.c_proj."),
)


def tensors_of(bundle: Any, *groups: str) -> dict[str, Any]:
    """Copies of a model's tensors of some groups, by our name."""
    return {n: t.detach().clone() for n, t in named_tensors(bundle.model).items() if group_of(n) in groups}


def open_flamingo(bundle: Any, *groups: str) -> dict[str, Any]:
    """OpenFlamingo's spelling: everything in its place within the language model."""
    layers = bundle.config.decoder_layers
    done = {}
    for name, tensor in tensors_of(bundle, *groups).items():
        name = re.sub(r"gated_cross_attn_layers\.(\d+)\.", rf"{layers}.\1.gated_cross_attn_layer.", name)
        done[re.sub(r"old_decoder_blocks\.(\d+)\.", rf"{layers}.\1.decoder_layer.", name)] = tensor
    return done


def clever_flamingo(bundle: Any, *groups: str) -> dict[str, Any]:
    """The authors' spelling: PEFT of that time around the language model."""
    done = {}
    for name, tensor in open_flamingo(bundle, *groups).items():
        done[name.replace("lang_encoder.", "lang_encoder.base_model.model.").replace(".base_layer.", ".")] = tensor
    return done


def open_clip(bundle: Any, prefix: str = "vision_encoder.visual.") -> dict[str, Any]:
    """The tower in open_clip's spelling, with what stands around it in a whole CLIP."""
    import torch

    tensors = {n.removeprefix("vision_encoder."): t for n, t in tensors_of(bundle, "vision").items()}
    done = {}
    for name, tensor in tensors.items():
        joined = re.match(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)$", name)
        if joined:
            parts = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            done[f"{prefix}transformer.resblocks.{joined[1]}.attn.in_proj_{joined[2]}"] = torch.cat(parts)
        if re.search(r"\.[qkv]_proj\.", name):
            continue
        for pattern, theirs in _TO_OPEN_CLIP:
            name = re.sub(pattern, theirs, name)
        done[prefix + name] = tensor
    done[prefix + "proj"] = torch.zeros(32, 16)
    if "visual" in prefix:
        done["vision_encoder.transformer.resblocks.0.ln_1.weight"] = torch.zeros(7)  # of the text side
        done["vision_encoder.logit_scale"] = torch.zeros(())
    return done
