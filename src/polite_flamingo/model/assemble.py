"""A Flamingo from parts: a pretrained causal LM, a CLIP vision tower and a connector, fresh or from a checkpoint.

A fresh connector's gates are closed, so until it is trained (stage 2 of the U) the images have no effect. That is how
OpenFlamingo itself starts; a profile that only trains LoRA on such a model rewrites from the text alone. The published
OpenFlamingo checkpoints hold the connector (and some embeddings) but neither LM nor tower, so they are built too.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.io import publishing
from polite_flamingo.model.bases import CHECKPOINTS
from polite_flamingo.model.bundle import FlamingoBundle, build_flamingo, named_tensors
from polite_flamingo.model.config import FlamingoConfig, Perceiver
from polite_flamingo.model.flamingo import save_flamingo
from polite_flamingo.model.layouts import read_tensors
from polite_flamingo.model.original import infer_config, load_original
from polite_flamingo.model.origins import find_checkpoint, materialise

OLD_MASKS = "attend_previous=false"


def assemble_flamingo(parts: str, folder: Path, *, seed: int, every: int = 10) -> dict[str, float]:
    """Build a Flamingo folder.

    Args:
        parts: ``<origin of the LM>|<origin of a CLIP>``, origins as in `model.origins`. ``|<origin of a checkpoint>``
            may follow: an OpenFlamingo checkpoint, whose sizes are read from it; and ``|attend_previous=false`` where
            it is one of OpenFlamingo 1 (`model.architecture`) and not listed in `model.bases`, which says so itself.
        folder: Where the Flamingo goes.
        seed: Seed of the fresh connector.
        every: A cross-attention before every `every`-th decoder block; a checkpoint has its own.

    Returns:
        Parameter counts in millions: ``lm``, ``vision``, ``connector``.
    """
    from transformers import CLIPVisionModel

    language, sight, *more = parse_parts(parts)
    checkpoint = find_checkpoint(more[0]) if more else None
    config = FlamingoConfig(cross_attn_every_n_layers=every, perceiver=Perceiver(depth=2, num_latents=16))
    if checkpoint is not None:
        config = replace(infer_config(read_tensors(checkpoint), checkpoint), attend_previous=_attends_previous(more))
    with tempfile.TemporaryDirectory() as scratch:
        lm_folder, clip_folder = Path(scratch) / "lm", Path(scratch) / "clip"
        materialise(language, "lm", lm_folder)
        materialise(sight, "clip", clip_folder)
        lm, tokenizer = _load_lm(lm_folder)
        vision = CLIPVisionModel.from_pretrained(clip_folder, use_safetensors=True)
        bundle = build_flamingo(
            lm,
            tokenizer,
            vision,
            config=config,
            image_processor=ImagePreprocessor.from_folder(clip_folder),
            seed=seed,
        )
        if checkpoint is not None:
            load_original(bundle, checkpoint)
        with publishing(folder) as staging:
            save_flamingo(bundle, staging)
    return _millions(bundle)


def parse_parts(parts: str) -> list[str]:
    """The parts of a ``build:`` origin: LM, CLIP and, if given, a checkpoint and ``attend_previous=false``.

    Raises:
        ModelError: they are too few, too many, or the last is another one.
    """
    language, *more = parts.split("|")
    if not more or not more[0] or len(more) > 3 or more[2:] not in ([], [OLD_MASKS]):
        raise ModelError(
            "a Flamingo is built from two or three parts",
            value=parts,
            where="backbones.flamingo",
            next_step="write build:<origin of the LM>|<origin of a CLIP>, then maybe |<origin of a checkpoint> and "
            f"|{OLD_MASKS}",
        )
    return [language, *more]


def _millions(bundle: FlamingoBundle) -> dict[str, float]:
    """Parameters of each part in millions."""
    sizes = {"lm": 0, "vision": 0, "connector": 0}
    for name, parameter in named_tensors(bundle.model).items():
        if name.startswith("perceiver") or "gated_cross_attn" in name:
            part = "connector"
        else:
            part = "vision" if name.startswith("vision_encoder") else "lm"
        sizes[part] += parameter.numel()
    return {f"{part}_parameters_m": round(count / 1e6, 2) for part, count in sizes.items()}


def _attends_previous(parts: list[str]) -> bool:
    listed = CHECKPOINTS.get(parts[0].removeprefix("hub:").partition("@")[0])
    return OLD_MASKS not in parts and (listed is None or listed.attend_previous)


def _load_lm(folder: Path) -> tuple[Any, Any]:
    """Load a causal LM and its tokenizer; GGUF weights are de-quantised into a plain model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = sorted(folder.glob("*.gguf"))
    if not gguf:
        return (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True),
            AutoTokenizer.from_pretrained(folder),
        )
    quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf[0].name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf[0].name)
    values = quantised.config.to_dict()
    values.pop("quantization_config", None)
    plain = type(quantised)(type(quantised.config).from_dict(values))
    plain.load_state_dict(quantised.state_dict())
    return plain, tokenizer
