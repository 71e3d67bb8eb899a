"""Names of tensors in checkpoints written by others: OpenFlamingo 1 and 2, Clever and Polite Flamingo, open_clip, PEFT.

| written by | its spelling | ours |
|---|---|---|
| DDP, compile, FSDP | ``module.``, ``_orig_mod.``, ``_fsdp_wrapped_module.`` … | left out |
| the training scripts | everything below ``model_state_dict`` | taken out |
| PEFT around the LM | ``lang_encoder.base_model.model.`` | ``lang_encoder.`` |
| PEFT before 0.6 | ``q_proj.weight`` of a layer with LoRA | ``q_proj.base_layer.weight`` |
| PEFT's adapters | ``lora_A.weight`` | ``lora_A.default.weight`` |
| OpenFlamingo | ``lang_encoder.<layers>.3.gated_cross_attn_layer.`` | ``lang_encoder.gated_cross_attn_layers.3.`` |
| OpenFlamingo | ``vision_encoder.visual.`` with open_clip's names | ``vision_encoder.`` with Hugging Face's |
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import FlamingoBundle, named_tensors
from polite_flamingo.model.vetting import check_finite, read_safetensors

_WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
_NOT_WEIGHTS = re.compile(  # buffers that are computed, and CLIP's projection, which comes after the patch tokens
    r"(rotary_emb\.inv_freq|position_ids|attention\.(masked_)?bias|attn\.(masked_)?bias|attn_mask|^vision_encoder\.proj)$"
)
_OPEN_CLIP = (
    (r"^conv1\.", "embeddings.patch_embedding."),
    (r"^class_embedding$", "embeddings.class_embedding"),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_pre\.", "pre_layrnorm."),
    (r"^ln_post\.", "post_layernorm."),
    (r"^transformer\.resblocks\.(\d+)\.ln_(\d)\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^transformer\.resblocks\.(\d+)\.attn\.out_proj\.", r"encoder.layers.\1.self_attn.out_proj."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"encoder.layers.\1.mlp.fc1."),
    (r"^transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"encoder.layers.\1.mlp.fc2."),
)
_IN_PROJ = re.compile(r"^transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$")
VISION = "vision_encoder."
PICKLES = (b"PK", b"\x80")  # a zip of PyTorch's, a bare pickle; a text asks for nothing


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` file by name, on the CPU; nothing is unpickled.

    Of a training checkpoint the part ``model_state_dict`` (or ``state_dict``) is taken.

    Raises:
        ModelError: the file is missing, cut short, or holds anything but tensors.
    """
    if not path.is_file():
        raise ModelError("checkpoint does not exist", where=path)
    if path.suffix == ".safetensors":
        return _some(read_safetensors(path), path)
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ModelError(
            "checkpoint is damaged or holds more than tensors, and is not unpickled",
            value=_cause(path, error),
            where=path,
            next_step="compare its size and hash with the source; convert it to safetensors where you trust it",
        ) from error
    except Exception as error:  # a text's letters are read as pickle's commands, which fail in every way there is
        raise ModelError(
            "checkpoint cannot be read",
            value=_cause(path, error),
            where=path,
            next_step="the file is cut short or no checkpoint: compare its size and hash with the source",
        ) from error
    for key in ("model_state_dict", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)} if isinstance(content, Mapping) else {}
    check_finite(tensors.items(), path)
    return _some(tensors, path)


def _some(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    if not tensors:
        raise ModelError("checkpoint holds no tensors", where=path)
    return tensors


def _cause(path: Path, error: Exception) -> str:
    """What a pickle asks for that is no tensor, else how the file begins: a web page, a pointer of Git LFS."""
    with open(path, "rb") as file:
        head = file.read(32)
    request = re.search(r"GLOBAL ([\w.]+)", str(error))
    if request and head.startswith(PICKLES):
        return f"asks for {request[1]}"
    return f"{type(error).__name__}; the file begins with {head!r}"


def spellings(bundle: FlamingoBundle) -> dict[str, str]:
    """Every name a parameter has in the model -> the one used for it (`model.bundle.named_tensors`)."""
    names = {id(parameter): name for name, parameter in named_tensors(bundle.model).items()}
    return {name: names[id(p)] for name, p in bundle.model.named_parameters(remove_duplicate=False)}


def canonical(name: str, known: Mapping[str, str], decoder_layers: str) -> str:
    """The model's name of a tensor (see the module's table), or the name without its wrappers if it has none.

    Args:
        name: As the checkpoint spells it.
        known: See `spellings`.
        decoder_layers: Attribute path of the decoder blocks.
    """
    name = _WRAPPERS.sub("", name).lstrip(".")
    name = name.replace("lang_encoder.base_model.model.", "lang_encoder.")
    if name.startswith("base_model.model."):
        name = "lang_encoder." + name.removeprefix("base_model.model.")
    name = re.sub(r"(\.lora_[AB])\.weight$", r"\1.default.weight", name)
    block = re.match(rf"lang_encoder\.{re.escape(decoder_layers)}\.(\d+)\.(?!decoder_layer\.|gated_cross)", name)
    candidates = [name]
    if block:  # a plain LM's name
        candidates.append(f"lang_encoder.old_decoder_blocks.{block[1]}.{name[block.end() :]}")
    for candidate in list(candidates):
        stem, _, last = candidate.rpartition(".")
        candidates += [f"{stem}.base_layer.{last}", candidate.replace(".base_layer.", ".")]
    return next((known[candidate] for candidate in candidates if candidate in known), name)


def is_weight(name: str) -> bool:
    """False for buffers and for what lies behind the tokens that are used."""
    return _NOT_WEIGHTS.search(name) is None


def with_vision(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`tensors` with the vision tower's open_clip names turned into Hugging Face's (its joined q, k, v are parted).

    Of a whole CLIP (below ``vision_encoder.visual.``) the text side is left out.
    """
    names = {full: _WRAPPERS.sub("", full).lstrip(".") for full in tensors}
    whole = any(name.startswith(f"{VISION}visual.") for name in names.values())
    done: dict[str, torch.Tensor] = {}
    for full, tensor in tensors.items():
        if not names[full].startswith(VISION):
            done[full] = tensor
            continue
        name = names[full].removeprefix(VISION)
        if whole and not name.startswith("visual."):
            continue
        name = name.removeprefix("visual.").removeprefix("vision_model.")
        joined = _IN_PROJ.match(name)
        if joined:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                done[f"{VISION}encoder.layers.{joined[1]}.self_attn.{part}_proj.{joined[2]}"] = piece
            continue
        for pattern, ours in _OPEN_CLIP:
            name = re.sub(pattern, ours, name)
        done[VISION + name] = tensor
    return done
