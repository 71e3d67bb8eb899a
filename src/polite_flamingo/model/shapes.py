"""A Flamingo without weights: the real architecture on PyTorch's meta device, to count what a training would change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cachetools import LRUCache, cached

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.io.text import read_json
from polite_flamingo.model.architecture import join
from polite_flamingo.model.assemble import connector_sizes, parse_parts
from polite_flamingo.model.bases import CHECKPOINTS, LANGUAGE, VISION
from polite_flamingo.model.bundle import FlamingoBundle, named_tensors
from polite_flamingo.model.config import DECODER_LAYERS, CrossAttention, FlamingoConfig, Perceiver
from polite_flamingo.model.efficientnet import EfficientNetLiteConfig
from polite_flamingo.model.freezing import GROUPS
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.origins import CONNECTOR, LAPTOP, PACKAGED, find_checkpoint, package_folder
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.model.shipped import DESCRIBED
from polite_flamingo.model.tower import VisionTower, tower_class

SPECIAL_TOKENS = 3  # <image>, <|endofchunk|>, <PAD>


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a Flamingo is built from.

    Args:
        language: Keywords of the language model's Hugging Face config, with ``model_type`` and the usual names of
            sizes also where the family has its own (MPT's ``d_model`` is ``hidden_size``).
        vision: Keywords of the tower's config; ``model_type`` says which tower (`model.tower.tower_class`).
        config: Sizes of the connector.
        new_tokens: Special tokens that are still to be added to the vocabulary.
    """

    language: Mapping[str, Any]
    vision: Mapping[str, Any]
    config: FlamingoConfig
    new_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ParameterCounts:
    """Parameters, in values.

    Args:
        parts: Per group of weights; ``embeddings`` are part of ``lm``.
        trainable: Per group of a stage's `trainable`.
        total: Of the whole model with its adapters.
    """

    parts: Mapping[str, int]
    trainable: Mapping[str, int]
    total: int

    @property
    def learned(self) -> int:
        """Values that a stage changes."""
        return sum(self.trainable.values())


def blueprint(origin: str) -> Blueprint:
    """What the origin of a profile's ``backbones.flamingo`` will become.

    Args:
        origin: ``packaged``, ``laptop``, ``local:<folder>`` or ``build:<LM>|<CLIP>[|<OpenFlamingo checkpoint>...]``.

    Raises:
        ModelError: sizes are neither listed (`model.bases`) nor on this machine.
    """
    kind, _, rest = origin.partition(":")
    if kind == "packaged":
        return _of_folder(PACKAGED / (rest or "flamingo"))
    if kind == "local":
        return _of_folder(Path(rest))
    if origin == "laptop":
        return _shipped(read_json(LAPTOP / CONNECTOR / DESCRIBED))
    if kind != "build":
        raise ModelError(
            "sizes of this base are not known before its download",
            value=origin,
            where="backbones.flamingo",
            next_step="name its parts: build:<LM>|<CLIP>|<checkpoint>",
        )
    parts = parse_parts(rest)
    language, vision = parts.language, parts.vision
    config = FlamingoConfig(10, Perceiver(depth=2, num_latents=16), CrossAttention())  # as model.assemble
    if parts.checkpoints:
        config = _connector(parts.checkpoints)
    tower = _look_up(vision, VISION) if _name(vision) in VISION else _tower_config(_folder(vision, "clip"))
    if _name(language) not in LANGUAGE:
        return Blueprint(_language(_folder(language)), tower, config, SPECIAL_TOKENS)
    read = dict(LANGUAGE[_name(language)])
    return Blueprint(read, tower, config, max(0, read.pop("tokens") + SPECIAL_TOKENS - read["vocab_size"]))


def count(
    plan: Blueprint, groups: Sequence[str], lora: LoraSettings | None, resolution: int | None = None
) -> ParameterCounts:
    """Instantiate the architecture without memory and count.

    Args:
        plan: What it is built from.
        groups: Groups that learn (`model.freezing.GROUPS`).
        lora: Settings of the adapters, if the model has any.
        resolution: Side of the images in pixels; None: the tower's own.
    """
    sizes = _tensor_sizes(plan, lora, resolution)

    def matching(group: str) -> int:
        return sum(size for name, size in sizes.items() if re.search(GROUPS[group], name))

    parts = {
        group: matching(group) for group in ("vision", "lm", "embeddings", "perceiver", "xattn", "xattn_ff", "lora")
    }
    return ParameterCounts(parts, {group: matching(group) for group in groups}, sum(sizes.values()))


@cached(LRUCache(16), key=lambda *build: repr(build))  # the trainings of a profile mostly share one build
def _tensor_sizes(plan: Blueprint, lora: LoraSettings | None, resolution: int | None) -> dict[str, int]:
    """Number of values of every tensor, by name."""
    bundle = skeleton(plan, resolution)
    if lora is not None:
        with torch.device("meta"):
            inject_lora(bundle, lora)
    return {name: tensor.numel() for name, tensor in named_tensors(bundle.model).items()}


def skeleton(plan: Blueprint, resolution: int | None = None) -> FlamingoBundle:
    """The model itself on the meta device: shapes without values, nothing can be computed with it."""
    with torch.device("meta"):
        lm, vision = random_parts(plan, resolution)
        vision = getattr(vision, "vision_model", vision)
        path = plan.config.decoder_layers
        if path == "auto":
            path = DECODER_LAYERS[lm.config.model_type]
        media = lm.config.vocab_size - 1
        model = join(lm, vision, plan.config, layers=path, media=media, chunk=media - 1)
        tower = VisionTower(vision, plan.config.vision_tokens)
    return FlamingoBundle(
        model=model,
        tokenizer=None,
        image_processor=ImagePreprocessor.square(vision.config.image_size),
        tower=tower,
        config=replace(plan.config, decoder_layers=path),
        device=torch.device("meta"),
    )


def random_parts(plan: Blueprint, resolution: int | None = None) -> tuple[Any, Any]:
    """The language model and the tower with random weights, on PyTorch's default device and in its default number type.

    Args:
        plan: What it is built from; the new tokens have their rows.
        resolution: Side of the images in pixels; None: the tower's own.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    left_out = ("model_type", "quantization_config", "dtype", "torch_dtype")
    language = {k: v for k, v in plan.language.items() if k not in left_out}
    language["vocab_size"] = language["vocab_size"] + plan.new_tokens
    config = AutoConfig.for_model(plan.language["model_type"], **language)
    kind = tower_class(plan.vision)
    tower = {name: value for name, value in plan.vision.items() if name != "model_type"}
    tower |= {} if resolution is None else {"image_size": resolution}
    return AutoModelForCausalLM.from_config(config), kind(kind.config_class(**tower))


def _shipped(described: Mapping[str, Any]) -> Blueprint:
    read = dict(LANGUAGE[_name(described["language"])])
    tower = {"model_type": EfficientNetLiteConfig.model_type, **described["vision"]}
    return Blueprint(read, tower, FlamingoConfig.from_dict(described["config"]), SPECIAL_TOKENS)


def _of_folder(folder: Path) -> Blueprint:
    for part in (folder / "config.json", folder / "lm" / "config.json", folder / "vision" / "config.json"):
        if not part.is_file():
            raise ModelError(
                "no Flamingo lies here, so its sizes are not known",
                value=part.name,
                where=folder,
                next_step="`polite-flamingo run --until backbones`, or name another base",
            )
    config = FlamingoConfig.from_dict(read_json(folder / "config.json"), where=folder / "config.json")
    return Blueprint(_language(folder / "lm"), _tower_config(folder / "vision"), config)


def _language(folder: Path) -> Mapping[str, Any]:
    """A language model's config, its sizes under their usual names too."""
    from transformers import CONFIG_MAPPING

    values = read_json(folder / "config.json")
    kind = values.get("model_type")
    usual = CONFIG_MAPPING[kind].attribute_map if kind in CONFIG_MAPPING else {}
    return {**values, **{name: values[own] for name, own in usual.items() if own in values}}


def _name(origin: str) -> str:
    """The id in ``hub:<id>@<revision>`` or the package in ``pypi:<package>``."""
    return origin.partition(":")[2].partition("@")[0]


def _connector(origins: Sequence[str]) -> FlamingoConfig:
    """Sizes of the checkpoints' connector: that of the first is listed, or they are read where they lie here."""
    if origins[0].startswith("hub:"):
        listed: FlamingoConfig = _look_up(origins[0], CHECKPOINTS)
        return listed
    return connector_sizes([find_checkpoint(origin) for origin in origins])


def _look_up(origin: str, table: Mapping[str, Any]) -> Any:
    name = _name(origin)
    if name not in table:
        raise ModelError("sizes of this model are not listed", value=origin, next_step=did_you_mean(name, table))
    return table[name]


def _folder(origin: str, packaged: str = "") -> Path:
    kind, _, rest = origin.partition(":")
    if kind == "packaged":
        return PACKAGED / (rest or packaged)
    if kind == "local":
        return Path(rest)
    if kind == "pypi":
        return package_folder(rest)
    raise ModelError(
        "sizes of this model are neither listed nor on this machine",
        value=origin,
        next_step="add them to model/bases.py, or use local:<folder>",
    )


def _tower_config(folder: Path) -> Mapping[str, Any]:
    values = read_json(folder / "config.json")
    config: Mapping[str, Any] = values.get("vision_config", values)
    return {k: v for k, v in config.items() if k not in ("architectures", "transformers_version")}
