"""Put trained models below the package: weights, model cards and a manifest with figures and the hash of every file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ModelError
from polite_flamingo.io.files import publishing, write_atomic
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.laptop.ship_flamingo import PARTS, is_trained, pack, render_flamingo_card
from polite_flamingo.model.origins import ADAPTER, LAPTOP, round_adapter

SOURCES = {
    "esnli": "e-SNLI dev (permission notice in MIT form; premises are Flickr30k captions)",
    "esnlive": "e-SNLI-VE dev and test on Flickr8k photographs (none stated)",
    "sick": "SICK train and trial (none stated)",
    "vqa": "VQA v2 val yes/no questions (none stated)",
    "vqa_x": "VQA-X val and test (none stated)",
    "okvqa": "OK-VQA val (repository MIT)",
    "aokvqa": "A-OKVQA val (Apache-2.0)",
    "daquar": "DAQUAR (repository Apache-2.0)",
    "vquanda": "VQuAnDa train and ParaQA (CC BY 4.0)",
    "qadialog": "QADialog's crowd-chosen answers (none stated; SQuAD CC BY-SA 4.0)",
    "qadialog_ratings": "QADialog's crowd ratings (none stated)",
    "hh_rlhf": "hh-rlhf harmless-base test (MIT)",
    "preferences": "LLaMA-Factory's DPO and KTO examples (Apache-2.0), OpenAssistant ranks (Apache-2.0)",
    "politeness": "Stanford politeness corpus, Wikipedia (none stated)",
    "descriptions": "StableLLaVA descriptions (Apache-2.0), FOHE's rewritten captions (none stated)",
    "vsr": "Visual Spatial Reasoning (Apache-2.0)",
    "objects": "objects of COCO photographs as ConCorD lists them (Apache-2.0)",
    "responses": "LLaVA's GPT-4 answers (Apache-2.0; OpenAI's terms), Ferret-Bench's (research only, CC BY-NC 4.0), "
    "ImageInWords (CC BY 4.0)",
    "flickr8k": "Flickr8k captions (for non-commercial research and education)",
    "captions": "COCO captions on val2014 photographs (annotations by the COCO Consortium; photographs have Flickr "
    "licences), Flickr8k (photographs for non-commercial research and education)",
}
ANSWERS = ("vqa", "vqa_x", "okvqa", "aokvqa", "daquar", "vquanda", "qadialog")


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """What a model card says beside the figures."""

    title: str
    what: str
    base: str
    sources: tuple[str, ...]
    limits: str


MPNET_BASE = "all-mpnet-base-v2 (Apache-2.0), from five PyPI packages"
CARDS = {
    "nli": JudgeCard(
        "NLI judge",
        "A LoRA adapter and a three-way head that tell contradiction, entailment and neutral apart; for column `nli`.",
        MPNET_BASE,
        ("esnli", "esnlive", "sick", "flickr8k", *ANSWERS),
        "English; short premises (128 tokens in training). Wrong and neutral answers are made by rule from right ones: "
        "finer errors than another answer of the same type are rare in training. DAQUAR's answers have synonyms that "
        "count as wrong.",
    ),
    "reward": JudgeCard(
        "Reward model",
        "A LoRA adapter with one output: how full, fluent and friendly a response is; for `reward` and `reward_raw`.",
        MPNET_BASE,
        ("hh_rlhf", "preferences", "qadialog_ratings", "politeness", "descriptions", *ANSWERS),
        "English. It prefers whole, courteous sentences; it hardly knows whether an answer is true, and on hh-rlhf it "
        "is little better than chance, as small models are. No filter uses it.",
    ),
    "clip": JudgeCard(
        "Image-text scorer",
        "Projections from an image tower and a sentence encoder into one space, in CLIP's place; `clip_logits` are 100 "
        "times a cosine. Use `score.clip_mode: fixed`, and a `paragraphs.min_clip_logit` near the `threshold` of the "
        "validation part, which keeps 95 % of its true captions: the paper's 17.0 is CLIP's.",
        f"{MPNET_BASE}; EfficientNet-Lite2 (Apache-2.0), from PyPI",
        ("captions", "objects"),
        "Everyday photographs of COCO and Flickr kind, the whole picture squeezed to 224 x 224. It finds captions of "
        "another photograph, not every wrong detail: with one object swapped, a caption is below the true one in the "
        "share `swapped_below` alone.",
    ),
}


def ship(out: Path, folder: Path = LAPTOP, *, work: Path = Path(".work/laptop")) -> dict[str, Any]:
    """Copy the models trained below `out` to `folder` and write their cards and the manifest anew.

    Args:
        out: Folder with ``nli``, ``reward``, ``clip``, ``connector-…``, ``rewriter-…`` or some of them, and their
            figures as JSON files.
        folder: Of the shipped models; others that lie there stay.
        work: Where the tower's projection was fitted.

    Returns:
        The manifest: figures and the hash of every file by model.

    Raises:
        ModelError: nothing was trained there.
    """
    found = [name for name in CARDS if (out / name).is_dir() and (out / f"{name}.json").is_file()]
    found += [name for name in PARTS if is_trained(out, name)]
    if not found:
        raise ModelError("no trained model", where=out, next_step="train one: polite_flamingo.laptop.train nli")
    folder.mkdir(parents=True, exist_ok=True)
    present = folder / "manifest.json"
    manifest = read_json(present) if present.is_file() else {"figures": {}, "files": {}}
    for name in found:
        with publishing(folder / name) as staging:
            figures = pack(name, out, work, staging, SOURCES) if name in PARTS else _pack_judge(name, out, staging)
            for path in staging.iterdir():
                path.chmod(0o644)  # safetensors writes files that nobody else can read
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
        manifest["files"][name] = {path.relative_to(folder / name).as_posix(): hash_file(path) for path in files}
        manifest["figures"][name] = figures
    write_json(present, manifest)
    return dict(manifest)


def restate(measured: Mapping[str, Mapping[str, Any]], folder: Path = LAPTOP) -> None:
    """Write all cards anew from the manifest.

    Args:
        measured: Held-out figures that replace those of a model there.
        folder: Of the shipped models.
    """
    manifest = read_json(folder / "manifest.json")
    for name, figures in manifest["figures"].items():
        figures["held_out"] = dict(measured.get(name, figures["held_out"]))
        card = folder / name / "README.md"
        write_atomic(card, render_card(name, figures).encode())
        manifest["files"][name][card.name] = hash_file(card)
    write_json(folder / "manifest.json", manifest)


def render_card(name: str, figures: Mapping[str, Any]) -> str:
    """The model card of a shipped model by its figures in the manifest."""
    return render_flamingo_card(name, figures, SOURCES) if name in PARTS else render_judge_card(CARDS[name], figures)


def _pack_judge(name: str, out: Path, folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = read_json(out / f"{name}.json")
    if (out / name / ADAPTER).is_file():
        round_adapter(out / name, folder)
    else:
        for path in sorted((out / name).iterdir()):
            shutil.copyfile(path, folder / path.name)
    write_atomic(folder / "README.md", render_judge_card(CARDS[name], figures))
    return figures


def render_judge_card(card: JudgeCard, figures: Mapping[str, Any]) -> str:
    """The model card, Markdown with the head that the Hugging Face hub reads."""
    rows = [
        f"| {name} | {_figure(figures['held_out'][name])} | {_figure(value)} |"
        for name, value in figures["validation"].items()
        if name in figures["held_out"]
    ]
    sources = "\n".join(f"- {SOURCES[name]}" for name in card.sources)
    return f"""---
library_name: polite-flamingo
license: other
---

# {card.title}

{card.what}

Base: {card.base}; frozen, not in this folder. Trained in {figures["ran"]["steps"]} steps of
`python -m polite_flamingo.laptop.train`, matrices kept as int8.

## Figures

On photographs and questions that training never saw; with 95 % intervals. Nothing was chosen on the held-out part.

| what | held out | validation |
|---|---|---|
{chr(10).join(rows)}

## Data, with the licences stated at their sources

{sources}

No picture and no text of them is in this folder. Some are for research alone: look at them before any other use.

## Limits

{card.limits}
"""


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f}, {value['n']})"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
