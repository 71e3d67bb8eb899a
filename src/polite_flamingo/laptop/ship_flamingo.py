"""The trained connector and rewriter as they are shipped: weights, what stands under them, and a card with figures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ModelError
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.laptop.base import CONFIG, LANGUAGE, SEED, TOWER
from polite_flamingo.laptop.rewriter import LORA
from polite_flamingo.model.efficientnet import EfficientNetLiteConfig
from polite_flamingo.model.origins import CONNECTOR, REWRITER
from polite_flamingo.model.shipped import LORA as LORA_FILE
from polite_flamingo.model.shipped import PROJECTION, describe_base

PARTS = (CONNECTOR, REWRITER)
BASE = "SmolLM2-135M-Instruct (Apache-2.0) and EfficientNet-Lite2 (Apache-2.0), from PyPI packages"
TITLES = {
    CONNECTOR: "Connector for photographs",
    REWRITER: "Rewriter for photographs",
}
WHAT = {
    CONNECTOR: "OpenFlamingo's perceiver and gated cross-attention between a frozen tower and a frozen language model, "
    "and the projection of the tower's tokens; origin `laptop` of `backbones.flamingo`.",
    REWRITER: "LoRA adapters on that model that turn terse annotations into sentences; `rewriter_backend: laptop`.",
}
PHOTOGRAPHS = ("captions", "objects", "vqa", "vqa_x", "okvqa", "aokvqa", "daquar", "esnlive", "vsr")
DATA = {
    CONNECTOR: PHOTOGRAPHS,
    REWRITER: (*PHOTOGRAPHS, "vquanda", "qadialog", "qadialog_ratings", "descriptions", "responses"),
}
LIMITS = {
    CONNECTOR: "English. A small language model behind a small tower: it names common objects and scenes, and is often "
    "wrong in detail, number and text. Photographs of COCO, Flickr and NYU-Depth kind, squeezed to 224 x 224.",
    REWRITER: "English. It was taught to believe the annotation, so it keeps wrong ones. Score and filter what it "
    "writes: docs/real_run.md has what is left of its errors.",
}


def is_trained(out: Path, name: str) -> bool:
    """Whether a part lies in `out` with its figures."""
    return (out / f"{name}.json").is_file() and any(out.glob(f"{name}-*.safetensors"))


def pack(name: str, out: Path, work: Path, folder: Path, sources: Mapping[str, str]) -> dict[str, Any]:
    """Copy a trained part to `folder` with its card.

    Args:
        name: One of `PARTS`.
        out: Where it was trained to.
        work: Where the projection was fitted, if it is not in `out`.
        folder: Its folder, empty.
        sources: Data set -> its name and licence.

    Returns:
        The figures for the manifest.

    Raises:
        ModelError: the projection of the tower is not there.
    """
    for path in sorted(out.glob(f"{name}-*.safetensors")):
        shutil.copyfile(path, folder / path.name)
    if name == CONNECTOR:
        projection = next((place / PROJECTION for place in (out, work) if (place / PROJECTION).is_file()), None)
        if projection is None:
            raise ModelError("projection of the tower is missing", where=out, next_step=f"--work: {work} lacks it too")
        shutil.copyfile(projection, folder / PROJECTION)
        vision = EfficientNetLiteConfig()
        describe_base(folder, language=LANGUAGE, tower=TOWER, vision=vision, config=CONFIG, seed=SEED)
    else:
        write_json(folder / LORA_FILE, LORA.model_dump())
    trained = read_json(out / f"{name}.json")
    figures = {"held_out": numbers(trained["measured"]), "ran": numbers(trained["training"])}
    write_atomic(folder / "README.md", render_flamingo_card(name, figures, sources))
    return figures


def numbers(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among figures, those of a kind under its name; texts are left out."""
    found: dict[str, Any] = {}
    for name, value in measured.items():
        if isinstance(value, Mapping):
            inner = numbers(value)
            found |= {name: inner} if inner else {}
        elif isinstance(value, int | float):
            found[name] = round(value, 4)
    return found


def render_flamingo_card(name: str, figures: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """The model card, Markdown with the head that the Hugging Face hub reads."""
    rows = [f"| {what} | {value:g} |" for what, value in flat(figures["held_out"])]
    ran = ", ".join(f"{what} {value:g}" for what, value in flat(figures["ran"]))
    return f"""---
library_name: polite-flamingo
license: other
---

# {TITLES[name]}

{WHAT[name]}

Base: {BASE}; frozen, not in this folder. Trained by
`python -m polite_flamingo.laptop.train {name}` ({ran}); matrices are kept as int8, and measured as they are kept.

## Figures

On photographs that training never saw.

| what | held out |
|---|---|
{chr(10).join(rows)}

## Data, with the licences stated at their sources

{chr(10).join(f"- {sources[source]}" for source in DATA[name])}

No picture and no text of them is in this folder. Some are for research alone: look at them before any other use.

## Limits

{LIMITS[name]}
"""


def flat(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Numbers with the names of their kinds before them."""
    found: list[tuple[str, float]] = []
    for name, value in figures.items():
        found += flat(value, f"{prefix}{name} ") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
