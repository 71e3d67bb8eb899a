"""The rewriter: LoRA on the laptop's Flamingo, trained to turn raw annotations into full sentences (`laptop.pairs`).

First without pictures: what an annotation says must survive whatever the picture shows, and no connector is needed yet,
so that both may be trained side by side. Then, shorter, with them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import torch

from polite_flamingo.evaluate.chair import chair, check_objects, shown_objects
from polite_flamingo.io.text import write_json
from polite_flamingo.laptop import texts
from polite_flamingo.laptop.base import build_base, projected_tower
from polite_flamingo.laptop.connector import Photographs, dress, load_photographs
from polite_flamingo.laptop.fit import NO_IMAGE, FitRecipe, Text, fit, named, start
from polite_flamingo.laptop.pairs import Annotations, TersePair
from polite_flamingo.laptop.verbalise import complete, preserved
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.int8 import save_int8
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import GenerationSettings, LoraSettings
from polite_flamingo.model.shipped import put_int8
from polite_flamingo.prompts.templates import rewriter_prompt

LOG = logging.getLogger(__name__)
LORA = LoraSettings(r=16, alpha=16, dropout=0.0)
LONGEST = 80  # tokens of a rewrite when it is measured


def train_text(root: Path, work: Path, *, device: str, recipe: FitRecipe, seed: int = 0) -> dict[str, float]:
    """Train the adapters without pictures, into the checkpoint ``rewriter/text`` of `work`."""
    bundle = adapted(build_base(projected_tower(work, root, [], device=device), device=device), seed)
    annotations = Annotations.read(root, "train")

    def draw(epoch: int) -> list[Text]:
        pairs = annotations.draw(Random(f"{seed}:{epoch}:text"))
        return [Text(rewriter_prompt(pair.instruction, pair.draft, 0), pair.response) for pair in pairs]

    blind = torch.zeros(1, *bundle.tower.size, device=device)
    return fit(bundle, blind, draw, recipe, work / "rewriter/text", seed=seed)


def adapted(bundle: FlamingoBundle, seed: int) -> FlamingoBundle:
    """The model with fresh adapters, which alone are learned."""
    inject_lora(bundle, LORA, seed=seed)
    for _, tensor in named(bundle, lambda name: ".lora_" in name):
        tensor.requires_grad_(True)
    return bundle


def train_rewriter(
    root: Path, work: Path, out: Path, *, device: str, text: FitRecipe, recipe: FitRecipe, seed: int = 0
) -> None:
    """Train (both steps), save the adapters as int8 and write the held-out figures to ``rewriter.json`` in `out`."""
    result: dict[str, Any] = {"recipe": {"text": asdict(text), "pictures": asdict(recipe)}, "lora": LORA.model_dump()}
    before = train_text(root, work, device=device, recipe=text, seed=seed)
    tower, photographs = load_photographs(root, work, device)
    bundle = build_base(tower, device=device)
    put_int8(bundle, out, "connector")
    photographs = dress(bundle, photographs)
    adapted(bundle, seed)
    start(bundle, work / "rewriter/text")
    annotations = Annotations.read(root, "train")

    def draw(epoch: int) -> list[Text]:
        rng = Random(f"{seed}:{epoch}:rewriter")
        return [rewriter_text(pair, photographs, rng) for pair in annotations.draw(rng)]

    after = fit(bundle, photographs.features, draw, recipe, work / "rewriter/pictures", seed=seed)
    result["training"] = {"text": before, "pictures": after}
    bundle.model.requires_grad_(False).eval()
    learned = {name: tensor.detach() for name, tensor in named(bundle, lambda name: ".lora_" in name)}
    save_int8(learned, out, "rewriter")
    put_int8(bundle, out, "rewriter")  # what is measured is what is stored
    figures, examples = measure_rewriter(bundle, root, recipe.measured)
    write_json(out / "rewriter.json", result | {"measured": figures, "examples": examples})
    LOG.info("%s", figures)


def rewriter_text(pair: TersePair, photographs: Photographs, rng: Random) -> Text:
    """The sequence of a pair, in the rewriter's own prompt (Figure 3)."""
    seen = pair.image is not None
    row = photographs.row(pair.image, f"{pair.draft} {pair.instruction}", rng) if pair.image else NO_IMAGE
    return Text(rewriter_prompt(pair.instruction, pair.draft, int(seen)), pair.response, row)


def measure_rewriter(
    bundle: FlamingoBundle, root: Path, most: int
) -> tuple[dict[str, dict[str, float]], dict[str, list[list[str]]]]:
    """Figures and the first examples of each kind of held-out pair, by rule: kept answer, whole sentences, CHAIR."""
    annotations = Annotations.read(root, "held_out")
    raw = [pair for pair in annotations.draw(Random("rewriter:held out")) if pair.image]
    kinds: dict[str, list[TersePair]] = {}
    for pair in raw + asked_plainly(annotations.questions):
        chosen = kinds.setdefault(pair.kind, [])
        if len(chosen) < most:
            chosen.append(pair)
    settings = GenerationSettings(max_new_tokens=LONGEST, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
    figures, examples = {}, {}
    for kind, pairs in kinds.items():
        prompts = [
            Prompt(rewriter_prompt(pair.instruction, pair.draft, 1), (pair.image,)) for pair in pairs if pair.image
        ]
        size = 32 if bundle.device.type == "cpu" else 256
        said = [r.text for r in generate(bundle, prompts, settings, image_root=root, batch_size=size)]
        figures[kind] = _figures(pairs, said, annotations)
        LOG.info("%s: %s", kind, figures[kind])
        examples[kind] = [[pair.instruction, pair.draft, text] for pair, text in zip(pairs[:12], said, strict=False)]
    return figures, examples


def asked_plainly(questions: Sequence[texts.Inquiry]) -> list[TersePair]:
    """Questions with their true answer, as readers give them, whether or not a rule can make a sentence of it."""
    return [TersePair(f"plain_{q.source}", q.text, q.answer, "", q.answer, q.image) for q in questions]


def _figures(pairs: Sequence[TersePair], said: Sequence[str], annotations: Annotations) -> dict[str, float]:
    count = len(pairs)
    figures = {
        "asked": float(count),
        "preserved": sum(preserved(pair.answer, text) for pair, text in zip(pairs, said, strict=True)) / count,
        "complete": sum(map(complete, said)) / count,
        "words": sum(len(text.split()) for text in said) / count,
    }
    checked = []
    for pair, text in zip(pairs, said, strict=True):
        known = annotations.captions.get(pair.image or "", [])
        shown = annotations.objects.get(pair.image or "")
        if shown is not None:
            objects = shown_objects({"objects": shown}, [*known, pair.draft])
            if objects is not None:
                checked.append(check_objects(text, objects))
    if checked:
        figures["chair_sentence"], figures["chair_instance"] = chair(checked)
    return {name: round(value, 4) for name, value in figures.items()}
