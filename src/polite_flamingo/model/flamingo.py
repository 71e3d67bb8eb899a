"""A Flamingo's folder: saving and loading (appendix A of arXiv 2307.01003).

A model folder holds ``config.json`` (see `model.config.FlamingoConfig`), ``lm/`` (Hugging Face causal LM and tokenizer,
with the special tokens once saved from here), ``vision/`` (the tower and ``preprocessor_config.json``) and
``connector.safetensors`` (perceiver and gated cross-attention; other tensors of the model may stand there too).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.model.bundle import (
    FlamingoBundle,
    build_flamingo,
    named_tensors,
    number_type,
)
from polite_flamingo.model.checkpoint import load_trainables, trained_resolution
from polite_flamingo.model.config import ATTENTIONS, FlamingoConfig
from polite_flamingo.model.lora import merge_lora
from polite_flamingo.model.quantize import quantize_decoder
from polite_flamingo.model.tower import read_tower, resize_vision
from polite_flamingo.model.vetting import check_loaded, loading, read_safetensors, vet

PARTS = ("config.json", "connector.safetensors", "lm", "vision")


def save_flamingo(bundle: FlamingoBundle, folder: Path) -> None:
    """Write the model folder (see the module's text). LoRA weights are not part of a base: merge or save them first."""
    from safetensors.torch import save_file

    if bundle.lora is not None:
        raise ModelError("a model with LoRA cannot be saved as a base", where=folder, next_step="merge the LoRA first")
    if bundle.quantized:
        raise ModelError(
            "a quantised model cannot be saved as a base", where=folder, next_step="load it without quantize"
        )
    folder.mkdir(parents=True, exist_ok=True)
    lm = bundle.model.lang_encoder
    plain = type(lm).__bases__[1]  # the Hugging Face class below the mixin
    weights = {
        name.replace(".decoder_layer.", "."): value
        for name, value in lm.state_dict().items()
        if "gated_cross_attn_layer" not in name and not name.startswith("old_decoder_blocks.")
    }
    copy = plain(lm.config)
    copy.load_state_dict(weights)
    copy.to(next(lm.parameters()).dtype).save_pretrained(folder / "lm")
    bundle.tokenizer.save_pretrained(folder / "lm")
    vision: Any = bundle.tower.visual
    vision.save_pretrained(folder / "vision")
    write_json(folder / "vision" / "preprocessor_config.json", bundle.image_processor.to_config())
    save_file(connector_tensors(bundle.model), folder / "connector.safetensors")
    write_json(folder / "config.json", asdict(bundle.config))


def load_flamingo(
    folder: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    trainables: Path | None = None,
    merge: bool = True,
    resolution: int | None = None,
    attention: str = "sdpa",
    quantize: str = "none",
) -> FlamingoBundle:
    """Load a model folder and, if given, what a training wrote on top of it.

    Args:
        folder: Folder written by `save_flamingo`.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32", "bfloat16" or "float16".
        trainables: Folder written by `model.checkpoint.save_trainables`.
        merge: Fold the LoRA of `trainables` into the weights (faster; no further training).
        resolution: Side of the images in pixels; CLIP's position embeddings are interpolated to it. None: as in
            the training of `trainables`, else the tower's own.
        attention: "sdpa", "eager" or "flash_attention_2" (needs its package and a GPU), of the language model; MPT has
            "eager" only, and gets it for "sdpa".
        quantize: "none", or "nf4": the decoder's linear layers in four bits, for QLoRA (`model.quantize`).

    Raises:
        ModelError: a part is missing, does not fit or `trainables` belongs to another base.
        ConfigError: `device` is a CUDA one and there is none.
    """
    number_type(dtype)
    if attention not in ATTENTIONS:
        raise ModelError("unknown attention", value=attention, next_step=did_you_mean(attention, ATTENTIONS))
    if resolution is None and trainables is not None:
        resolution = trained_resolution(trainables)
    bundle = _load_base(folder, resolution, attention)
    bundle.device = torch.device(pick_device(str(device)))
    quantize_decoder(bundle, quantize, bundle.device)
    bundle.model.to(bundle.device)
    bundle.tower.to(bundle.device)
    bundle.cast(dtype)
    if trainables is not None:
        load_trainables(bundle, trainables)
        if merge and bundle.lora is not None:
            merge_lora(bundle)
    return bundle


def _load_base(folder: Path, resolution: int | None, attention: str) -> FlamingoBundle:
    """The folder's model on the CPU in float32, its tower made to take images of `resolution`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for name in PARTS:
        if not (folder / name).exists():
            raise ModelError(
                "model folder lacks a part",
                value=name,
                where=folder,
                next_step="`polite-flamingo run --until backbones`, or give a folder written by save_flamingo",
            )
    config = FlamingoConfig.from_dict(read_json(folder / "config.json"), where=folder / "config.json")
    with loading("model folder", folder):
        vet(folder)
        lm, found = AutoModelForCausalLM.from_pretrained(
            folder / "lm",
            dtype=torch.float32,
            attn_implementation=_attention_of(folder / "lm", attention),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        check_loaded(lm, found, folder / "lm")
        tokenizer = AutoTokenizer.from_pretrained(folder / "lm", trust_remote_code=False)
        vision = read_tower(folder / "vision")
    connector = read_safetensors(folder / "connector.safetensors")
    processor = ImagePreprocessor.from_folder(folder / "vision")
    native = vision.config.image_size
    if resolution is not None and resolution != native:
        grid = config.vision_tokens.grid or native // vision.config.patch_size
        config = replace(config, vision_tokens=replace(config.vision_tokens, grid=grid))
        resize_vision(vision, resolution)
        processor = processor.resized(resolution)
    bundle = build_flamingo(lm, tokenizer, vision, config=config, image_processor=processor)
    bundle.folder = folder
    bundle.resolution = None if vision.config.image_size == native else resolution
    _load_connector(bundle, connector, where=folder / "connector.safetensors")
    return bundle


def _attention_of(folder: Path, wanted: str) -> str:
    """`wanted`, or "eager" instead of "sdpa" where the family has no other: MPT adds its ALiBi to the scores."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    family = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(AutoConfig.from_pretrained(folder, trust_remote_code=False)), None)
    return "eager" if wanted == "sdpa" and family is not None and not family._supports_sdpa else wanted


def _load_connector(bundle: FlamingoBundle, tensors: Mapping[str, torch.Tensor], where: Path) -> None:
    known = named_tensors(bundle.model)
    needed = set(connector_tensors(bundle.model))
    missing, unknown = sorted(needed - set(tensors)), sorted(set(tensors) - set(known))
    wrong = sorted(n for n in set(tensors) & set(known) if tensors[n].shape != known[n].shape)
    if missing or unknown or wrong:
        raise ModelError(
            f"the connector does not fit: {len(missing)} tensors missing, {len(unknown)} unknown, {len(wrong)} of "
            "another shape",
            value=(missing + unknown + wrong)[:5],
            where=where,
            next_step="its config.json and connector.safetensors must come from one save_flamingo",
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            known[name].copy_(tensor)


def connector_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of the perceiver and the gated cross-attention by name, on the CPU."""
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in named_tensors(model).items()
        if name.startswith("perceiver.") or ".gated_cross_attn_layers." in name
    }
