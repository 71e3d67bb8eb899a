"""The variants of Figure 9 as changes of parameters, and as what DVC is told to set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, did_you_mean
from polite_flamingo.io.text import read_json
from polite_flamingo.params.schema import Params

BASE = "base"


@dataclass(frozen=True, slots=True)
class Variant:
    """One change of the recipe.

    Args:
        name: Name in file names and options.
        label: Name in tables and figures.
        changes: Dotted parameter -> value; empty for the recipe as it is.
        stages: Models measured.
    """

    name: str
    label: str
    changes: Mapping[str, Any]
    stages: tuple[str, ...] = ("stage2", "stage3")


def variants(params: Params) -> list[Variant]:
    """The recipe as it is, and the changes of Figure 9 made to a profile.

    The paper tries 224 pixels instead of 336, two thirds of the side. "Epochs" are those of stage 2, where
    understanding is learned.
    """
    side = _two_thirds(params.models / "backbones" / "flamingo" / "vision" / "config.json")
    stage2 = params.tune.stage2
    return [
        Variant(BASE, "recipe", {}, ("stage1", "stage2", "stage3")),
        Variant("resolution", f"resolution {side}", {"tune.common.resolution": side}),
        Variant("vit", "ViT unfrozen", {"tune.stage2.trainable": _with(stage2.trainable, "vision")}),
        Variant("lora_stage2", "LoRA in stage 2", {"tune.stage2.trainable": _with(stage2.trainable, "lora")}),
        Variant("epochs", "epochs × 2", {"tune.stage2.epochs": 2 * stage2.epochs}),
        Variant("no_stage1", "no stage 1", {"tune.skip_stage1": True}),
        Variant("raw", "raw annotations", {"tune.common.data": "raw"}),
    ]


def select_variants(params: Params, names: Sequence[str] | None) -> list[Variant]:
    """The variants of these names (None: all), in their usual order, the recipe always first.

    Raises:
        ConfigError: a name is unknown.
    """
    known = {variant.name: variant for variant in variants(params)}
    for name in names or ():
        if name not in known:
            raise ConfigError("unknown variant", value=name, next_step=did_you_mean(name, known))
    return [variant for name, variant in known.items() if names is None or name in names or name == BASE]


def assignments(params: Params, changes: Mapping[str, Any]) -> list[str]:
    """`changes` as arguments of ``dvc exp run --set-param``.

    A value that the profile replaces is set in the profile, any other one in params.yaml, so that what did not change
    keeps its place in DVC's cache.
    """
    profile = f"configs/profiles/{params.profile}.yaml"
    settings = []
    for dotted, value in changes.items():
        if dotted.startswith("runtime."):
            where = f"{profile}:{dotted}"
        elif any(f"{dotted}.".startswith(f"{key}.") for key in params.overridden):
            where = f"{profile}:overrides.{dotted}"
        else:
            where = f"params.yaml:{dotted}"
        settings.append(f"{where}={_hydra(value)}")
    return settings


def _hydra(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ",".join(_hydra(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra(item)}" for key, item in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)


def _with(groups: Sequence[str], group: str) -> list[str]:
    return [*groups, *([] if group in groups else [group])]


def _two_thirds(config: Path) -> int:
    """Two thirds of the tower's own side, in whole patches."""
    if not config.is_file():
        raise ConfigError(
            "the vision tower is missing",
            where=config,
            next_step="run the pipeline first: `polite-flamingo run --until backbones`",
        )
    vision = read_json(config)
    side, patch = int(vision["image_size"]), vision.get("patch_size") or _stride(vision)
    return max(1, side * 2 // 3 // int(patch)) * int(patch)


def _stride(vision: Mapping[str, Any]) -> int:
    """Pixels per token of a convolutional tower, which its class knows and its file does not name."""
    from polite_flamingo.model.tower import tower_class

    return int(tower_class(vision).config_class.patch_size)
