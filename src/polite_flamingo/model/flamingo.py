"""Building and loading a Flamingo (section 4.1 of arXiv 2307.01003).

Sizes are in `model.config`, the architecture in `model.architecture`, the tower in `model.tower`, images and saving in
`model.bundle`; what is used everywhere can be imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.io import read_json
from polite_flamingo.model.architecture import (
    CachedCrossAttention,
    GatedCrossAttentionBlock,
    MaskedCrossAttention,
    PoliteFlamingo,
    join,
)
from polite_flamingo.model.bundle import (
    FlamingoBundle,
    connector_tensors,
    named_tensors,
    number_type,
    resolve_device,
    save_flamingo,
)
from polite_flamingo.model.config import (
    ATTENTIONS,
    DECODER_LAYERS,
    CrossAttention,
    FlamingoConfig,
    Perceiver,
    VisionTokens,
)
from polite_flamingo.model.quantize import quantize_decoder
from polite_flamingo.model.sampling import gumbel
from polite_flamingo.model.tokens import add_special_tokens, place_images
from polite_flamingo.model.tower import VisionTower, position_code, resize_vision
from polite_flamingo.prompts.templates import CHUNK_TOKEN, IMAGE_TOKEN

__all__ = [
    "CachedCrossAttention",
    "CrossAttention",
    "FlamingoBundle",
    "FlamingoConfig",
    "GatedCrossAttentionBlock",
    "MaskedCrossAttention",
    "Perceiver",
    "PoliteFlamingo",
    "VisionTokens",
    "VisionTower",
    "build_flamingo",
    "gumbel",
    "load_flamingo",
    "named_tensors",
    "number_type",
    "position_code",
    "resolve_device",
    "save_flamingo",
]


def build_flamingo(
    lm: Any,
    tokenizer: Any,
    vision: Any,
    *,
    config: FlamingoConfig,
    image_processor: ImagePreprocessor | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> FlamingoBundle:
    """Join a causal LM and a CLIP vision tower with a fresh connector (gates closed, all weights frozen).

    The special tokens are added where missing; their embeddings start at the mean of all embeddings plus a little noise
    (tied embeddings stay tied).

    Args:
        lm: Hugging Face causal LM, changed in place.
        tokenizer: Its tokenizer, changed in place.
        vision: Hugging Face ``CLIPVisionModel``.
        config: Sizes.
        image_processor: Preprocessing; default: CLIP's at the tower's image size.
        device: Where to put the model.
        seed: Seed of the fresh weights; the global generator is not touched.

    Raises:
        ModelError: the LM's family is unknown or the tower is no CLIP vision model.
    """
    vision = getattr(vision, "vision_model", vision)
    if not hasattr(vision, "config") or not hasattr(vision.config, "patch_size"):
        raise ModelError("the vision tower must be a CLIPVisionModel", value=type(vision).__name__)
    path = DECODER_LAYERS.get(lm.config.model_type) if config.decoder_layers == "auto" else config.decoder_layers
    if path is None:
        raise ModelError(
            "no decoder layers known for this language model",
            value=lm.config.model_type,
            next_step="set `decoder_layers` in the model's config.json; "
            + did_you_mean(lm.config.model_type, DECODER_LAYERS),
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        add_special_tokens(lm, tokenizer)
        place_images(tokenizer, last=not config.attend_previous)
        tower = VisionTower(vision, config.vision_tokens)
        media, chunk = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, CHUNK_TOKEN])
        model = join(lm, vision, config, layers=path, media=media, chunk=chunk)
    where = torch.device(device)
    dtype = next(lm.parameters()).dtype
    model.to(where, dtype).requires_grad_(False).eval()
    tower.to(where, dtype)
    return FlamingoBundle(
        model=model,
        tokenizer=tokenizer,
        image_processor=image_processor or ImagePreprocessor.square(vision.config.image_size),
        tower=tower,
        config=replace(config, decoder_layers=path),
        device=where,
    )


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
        resolution: Side of the images in pixels; the tower's position embeddings are interpolated to it. None: as in
            the training of `trainables`, else the tower's own.
        attention: "sdpa", "eager" or "flash_attention_2" (needs its package and a GPU), of the language model.
        quantize: "none", or "nf4": the decoder's linear layers in four bits, for QLoRA (`model.quantize`).

    Raises:
        ModelError: a part is missing, does not fit or `trainables` belongs to another base.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

    from polite_flamingo.model.checkpoint import load_trainables, trained_resolution

    for name in ("config.json", "connector.safetensors", "lm", "vision"):
        if not (folder / name).exists():
            raise ModelError(
                "model folder lacks a part",
                value=name,
                where=folder,
                next_step="run the stage `backbones`, or give a folder written by save_flamingo",
            )
    number_type(dtype)
    if attention not in ATTENTIONS:
        raise ModelError("unknown attention", value=attention, next_step=did_you_mean(attention, ATTENTIONS))
    if resolution is None and trainables is not None:
        resolution = trained_resolution(trainables)
    config = FlamingoConfig.from_dict(read_json(folder / "config.json"), where=folder / "config.json")
    try:
        lm = AutoModelForCausalLM.from_pretrained(
            folder / "lm", dtype=torch.float32, attn_implementation=attention, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder / "lm")
        vision = CLIPVisionModel.from_pretrained(folder / "vision", dtype=torch.float32, use_safetensors=True)
        connector = load_file(folder / "connector.safetensors")
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError("model folder cannot be loaded", value=str(error), where=folder) from error
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
    bundle.device = resolve_device(device)
    quantize_decoder(bundle, quantize, bundle.device)
    bundle.model.to(bundle.device)
    bundle.tower.to(bundle.device)
    bundle.cast(dtype)
    if trainables is not None:
        from polite_flamingo.model.lora import merge_lora

        load_trainables(bundle, trainables)
        if merge and bundle.lora is not None:
            merge_lora(bundle)
    return bundle


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
