"""A Flamingo from parts: a pretrained causal LM, a CLIP vision tower and a connector, fresh or from a checkpoint.

A fresh connector's gates are closed, so until it is trained (stage 2 of the U) the images have no effect. That is how
OpenFlamingo itself starts; a profile that only trains LoRA on such a model rewrites from the text alone. The published
OpenFlamingo checkpoints hold the connector (and some embeddings) but neither LM nor tower, so they are built too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.io.files import publishing
from polite_flamingo.model.bases import CHECKPOINTS
from polite_flamingo.model.bundle import FlamingoBundle, build_flamingo, named_tensors
from polite_flamingo.model.config import FlamingoConfig, Perceiver
from polite_flamingo.model.flamingo import save_flamingo
from polite_flamingo.model.layouts import read_tensors
from polite_flamingo.model.original import infer_config, load_original
from polite_flamingo.model.origins import find_checkpoint, materialise
from polite_flamingo.model.tower import read_tower
from polite_flamingo.model.vetting import check_finite, check_loaded, loading, vet

OLD_MASKS, SKIP_UNKNOWN = "attend_previous=false", "skip_unknown=true"
OPTIONS = (OLD_MASKS, SKIP_UNKNOWN)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a ``build:`` origin names: origins of the LM, the CLIP and the checkpoints in order, and `OPTIONS`."""

    language: str
    vision: str
    checkpoints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def assemble_flamingo(parts: str, folder: Path, *, seed: int, every: int = 10) -> dict[str, float]:
    """Build a Flamingo folder.

    Args:
        parts: ``<origin of the LM>|<origin of a CLIP>``, origins as in `model.origins`. ``|<origin of a checkpoint>``
            may follow, once or several times, a later one replacing what an earlier one gave: an OpenFlamingo
            checkpoint, whose sizes are read from it, and what was trained from it without LoRA.
            ``|attend_previous=false`` says that it is one of OpenFlamingo 1 (`model.architecture`) where it is not
            listed in `model.bases`, which says so itself; ``|skip_unknown=true`` leaves out keys without a place.
        folder: Where the Flamingo goes.
        seed: Seed of the fresh connector.
        every: A cross-attention before every `every`-th decoder block; a checkpoint has its own.

    Returns:
        Parameter counts in millions: ``lm``, ``vision``, ``connector``.
    """
    named = parse_parts(parts)
    checkpoints = [find_checkpoint(origin) for origin in named.checkpoints]
    config = FlamingoConfig(cross_attn_every_n_layers=every, perceiver=Perceiver(depth=2, num_latents=16))
    if checkpoints:
        config = replace(connector_sizes(checkpoints), attend_previous=_attends_previous(named))
    with tempfile.TemporaryDirectory() as scratch:
        lm_folder, clip_folder = Path(scratch) / "lm", Path(scratch) / "clip"
        materialise(named.language, "lm", lm_folder)
        materialise(named.vision, "clip", clip_folder)
        lm, tokenizer = load_language_model(lm_folder)
        vision = read_tower(clip_folder)
        bundle = build_flamingo(
            lm,
            tokenizer,
            vision,
            config=config,
            image_processor=ImagePreprocessor.from_folder(clip_folder),
            seed=seed,
        )
        if checkpoints:
            load_original(bundle, checkpoints, skip_unknown=SKIP_UNKNOWN in named.options)
        with publishing(folder) as staging:
            save_flamingo(bundle, staging)
    return count_millions(bundle)


def parse_parts(parts: str) -> Parts:
    """The parts of a ``build:`` origin.

    Raises:
        ModelError: they are too few, an option is unknown, or stands where no checkpoint is.
    """
    language, *more = parts.split("|")
    vision, *checkpoints = [part for part in more if ":" in part] or [""]
    options = tuple(part for part in more if ":" not in part)
    ordered = [part for part in (vision, *checkpoints, *options) if part] == more
    if not (vision and ordered and set(options) <= set(OPTIONS)) or (options and not checkpoints):
        raise ModelError(
            "a Flamingo is built from a language model, a vision tower and maybe checkpoints",
            value=parts,
            where="backbones.flamingo",
            next_step="write build:<origin of the LM>|<origin of a CLIP>, then maybe |<origin of a checkpoint>, once "
            f"or several times, then maybe {' and '.join(f'|{option}' for option in OPTIONS)}",
        )
    return Parts(language, vision, tuple(checkpoints), options)


def connector_sizes(checkpoints: Sequence[Path]) -> FlamingoConfig:
    """Sizes of the connector that checkpoints hold together.

    Raises:
        ModelError: they hold none, or LoRA, which is no part of a base.
    """
    tensors: dict[str, torch.Tensor] = {}
    for path in checkpoints:
        read = read_tensors(path)
        adapters = [name for name in read if ".lora_" in name]
        if adapters:
            raise ModelError(
                "a base is built from checkpoints without LoRA",
                value=adapters[:3],
                where=path,
                next_step="build it without this one, then: polite-flamingo import-model --stage STAGE --alpha N FILE",
            )
        tensors |= read
    return infer_config(tensors, ", ".join(map(str, checkpoints)))


def count_millions(bundle: FlamingoBundle) -> dict[str, float]:
    """Parameters of each part in millions."""
    sizes = {"lm": 0, "vision": 0, "connector": 0}
    for name, parameter in named_tensors(bundle.model).items():
        if name.startswith("perceiver") or "gated_cross_attn" in name:
            part = "connector"
        else:
            part = "vision" if name.startswith("vision_encoder") else "lm"
        sizes[part] += parameter.numel()
    return {f"{part}_parameters_m": round(count / 1e6, 2) for part, count in sizes.items()}


def _attends_previous(named: Parts) -> bool:
    listed = CHECKPOINTS.get(named.checkpoints[0].removeprefix("hub:").partition("@")[0])
    return OLD_MASKS not in named.options and (listed is None or listed.attend_previous)


def load_language_model(folder: Path) -> tuple[Any, Any]:
    """A causal LM and its tokenizer of a folder; GGUF weights are de-quantised into a plain model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    vet(folder)
    gguf = sorted(folder.glob("*.gguf"))
    with loading("language model", folder):
        if not gguf:
            model, found = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            return check_loaded(model, found, folder), tokenizer
        quantised = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=gguf[0].name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf[0].name, trust_remote_code=False)
    check_finite(quantised.named_parameters(), folder)
    values = quantised.config.to_dict()
    values.pop("quantization_config", None)
    plain = type(quantised)(type(quantised.config).from_dict(values))
    plain.load_state_dict(quantised.state_dict())
    return plain, tokenizer
