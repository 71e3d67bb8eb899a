"""The connector: perceiver and gated cross-attention between a frozen tower and a frozen language model.

Two steps: the perceiver alone learns to name what captions name (`laptop.words`); then both learn to continue an image
by its caption, nothing else around it, as OpenFlamingo was trained, and to answer questions, judge statements and tell
the objects of a picture, several to a dialogue, in the assistant's own template. In a tenth of the dialogues the
picture is left out, so that what is said without one is the language's guess and the two can be compared.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from polite_flamingo.evaluate.cider import Cider
from polite_flamingo.io.text import write_json
from polite_flamingo.laptop import texts
from polite_flamingo.laptop.base import build_base, projected_tower
from polite_flamingo.laptop.features import FeatureStore, encode_photographs
from polite_flamingo.laptop.fit import NO_IMAGE, FitRecipe, Text, fit, mean_loss, named
from polite_flamingo.laptop.words import warm_perceiver
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.flamingo import connector_tensors
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.int8 import save_int8
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.model.shipped import put_int8, squeezed
from polite_flamingo.prompts.requests import PLAIN, STATEMENT
from polite_flamingo.prompts.templates import IMAGE, SYSTEM_MESSAGE, human
from polite_flamingo.sources.photographs import part_of

LOG = logging.getLogger(__name__)
WORD_EPOCHS = 5
CAPTIONS, DIALOGUES = 3, 1200  # of an epoch: captions of a photograph, dialogues in all
TOGETHER = 4  # questions in a dialogue, at most
WITHOUT = 0.1  # of the texts are asked without their picture
SMALL_LATENTS = 0.1  # the learned latents' scale: what is attended to outweighs what is always there
OPEN_GATE = 0.1  # tanh of it; closed ones would need long to open, wide ones disturb the language model
SIDES = re.compile(r"\b(?:left|right|clockwise|word|letter|say|read|written)\b", re.IGNORECASE)
EXISTENCE = (
    "Is there {a} {name} in the image?",
    "Do you see {a} {name} in this picture?",
    "Can you see {a} {name}?",
    "Is {a} {name} visible?",
    "Does this picture show {a} {name}?",
)


@dataclass(frozen=True, slots=True)
class Photographs:
    """The photographs of a data root with their features.

    Args:
        root: The data root.
        rows: Row of a photograph's features by path, as it is and mirrored.
        features: Dressed patch tokens (N, v, d).
    """

    root: Path
    rows: dict[str, tuple[int, int]]
    features: torch.Tensor

    def row(self, image: str, text: str, rng: Random) -> int:
        """The row of a photograph, mirrored half the time where the text names no side."""
        return self.rows[image][rng.random() < 0.5 and not SIDES.search(text)]


def load_photographs(root: Path, work: Path, device: str) -> tuple[Any, Photographs]:
    """The tower with its projection, and the features of all photographs of a data root, from the store in `work`."""
    paths = list_photographs(root)
    tower = projected_tower(work, root, paths, device=device)
    return tower, encode(tower, root, paths, work / "features", device=device)


def list_photographs(root: Path) -> list[str]:
    """All photographs of a data root, by path below it."""
    folders = (texts.COCO, texts.FLICKR, texts.DAQUAR)
    return sorted(str(path.relative_to(root)) for folder in folders for path in (root / folder).glob("*.jpg"))


def encode(tower: Any, root: Path, paths: Sequence[str], store: Path, *, device: str) -> Photographs:
    """Photographs with their features; those that are in the store `store` already are read."""
    patches = (tower.config.image_size // tower.config.patch_size) ** 2
    kept = FeatureStore(store, (1 + patches, tower.config.hidden_size))
    rows = encode_photographs(kept, tower, root, paths, squeezed(tower.config.image_size), device=device)
    found = {path: (int(plain), int(mirrored)) for path, plain, mirrored in zip(paths, *rows, strict=True)}
    return Photographs(root, found, torch.from_numpy(kept.rows()[:, 1:].copy()))


def dress(bundle: FlamingoBundle, photographs: Photographs) -> Photographs:
    """The same with the tokens that the perceiver takes, on the model's device."""
    rows = [bundle.tower.dress(part.to(bundle.device).float()).half() for part in photographs.features.split(512)]
    return Photographs(photographs.root, photographs.rows, torch.cat(rows))


def assistant(text: str, image: bool) -> str:
    """The assistant's prompt for one question."""
    return f"{SYSTEM_MESSAGE}\n{human(text, int(image))}"


@dataclass(frozen=True, slots=True)
class PhotoTexts:
    """What is learned about the photographs of one part."""

    captions: dict[str, list[str]]
    questions: list[texts.Inquiry]
    statements: list[texts.Inquiry]
    objects: dict[str, list[str]]

    @classmethod
    def read(cls, root: Path, part: str) -> PhotoTexts:
        """All texts about the photographs of a part."""
        return cls(
            {image: found for image, found in texts.captions(root).items() if part_of(image) == part},
            [question for question in texts.questions(root) if question.part == part],
            [statement for statement in texts.statements(root) if statement.part == part],
            {image: found for image, found in texts.objects(root).items() if part_of(image) == part},
        )

    def plain(self, photographs: Photographs, rng: Random, captions: int) -> list[Text]:
        """Some captions of each picture, the picture alone before them."""
        return [
            Text(IMAGE, caption, photographs.row(image, caption, rng))
            for image, known in sorted(self.captions.items())
            for caption in rng.sample(known, min(captions, len(known)))
        ]

    def asked(self, rng: Random) -> dict[str, list[tuple[str, str]]]:
        """Questions and answers by picture: captions, short answers, truth of statements, objects there or not."""
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        images = sorted(self.captions)
        for image in images:
            found[image].append((rng.choice(PLAIN), rng.choice(self.captions[image])))
            if rng.random() < 0.3:
                other = image if rng.random() < 0.5 else rng.choice(images)
                claim = rng.choice(STATEMENT).replace("{statement}", rng.choice(self.captions[other]))
                found[image].append((claim, "True" if other == image else "False"))
        for question in self.questions:
            found[question.image or ""].append((question.text, question.answer))
        for statement in self.statements:
            if statement.answer != texts.UNTOLD:
                claim = rng.choice(STATEMENT).replace("{statement}", statement.text)
                found[statement.image or ""].append((claim, statement.answer))
        names = sorted({name for listed in self.objects.values() for name in listed})
        weights = [sum(name in listed for listed in self.objects.values()) for name in names]
        for image, listed in sorted(self.objects.items()):
            there = rng.choice(listed) if listed else None
            absent = rng.choices(names, weights)[0]
            for name, answer in ((there, "yes"), (absent, "no")):
                if name is not None and not (answer == "no" and name in listed):
                    article = "an" if name[0] in "aeiou" else "a"
                    found[image].append((rng.choice(EXISTENCE).format(a=article, name=name), answer))
        return found

    def dialogues(self, photographs: Photographs, rng: Random, most: int) -> list[Text]:
        """What is asked of each picture, up to `most` questions to a dialogue."""
        drawn: list[Text] = []
        for image, asked in sorted(self.asked(rng).items()):
            rng.shuffle(asked)
            for start in range(0, len(asked), most):
                (question, answer), *rest = asked[start : start + most]
                seen = rng.random() >= WITHOUT
                said = " ".join(part for turn in asked[start : start + most] for part in turn)
                row = photographs.row(image, said, rng) if seen else NO_IMAGE
                more = tuple(("\n" + human(text, 0), reply) for text, reply in rest)
                drawn.append(Text(assistant(question, seen), answer, row, more))
        return drawn


def train_connector(root: Path, work: Path, out: Path, *, device: str, recipe: FitRecipe, seed: int = 0) -> None:
    """Train, save the connector as int8 and write the held-out figures to ``connector.json`` in `out`."""
    tower, photographs = load_photographs(root, work, device)
    bundle = build_base(tower, device=device)
    photographs = dress(bundle, photographs)
    for name, tensor in named(bundle, lambda name: name.startswith("perceiver.") or ".gated_cross_attn_" in name):
        tensor.requires_grad_(True)
        if name.endswith(("attn_gate", "ff_gate")):
            with torch.no_grad():
                tensor.fill_(OPEN_GATE)
    material = PhotoTexts.read(root, "train")
    with torch.no_grad():
        bundle.model.perceiver.latents.mul_(SMALL_LATENTS)
    result: dict[str, Any] = {"recipe": asdict(recipe)}
    warm_perceiver(
        bundle, photographs.features, photographs.rows, material.captions, work / "connector", epochs=WORD_EPOCHS
    )

    def draw(epoch: int) -> list[Text]:
        rng = Random(f"{seed}:{epoch}:connector")
        dialogues = material.dialogues(photographs, rng, TOGETHER)
        return material.plain(photographs, rng, CAPTIONS) + rng.sample(dialogues, min(DIALOGUES, len(dialogues)))

    result["training"] = fit(bundle, photographs.features, draw, recipe, work / "connector", seed=seed)
    bundle.model.requires_grad_(False).eval()
    out.mkdir(parents=True, exist_ok=True)
    save_int8(connector_tensors(bundle.model), out, "connector")
    put_int8(bundle, out, "connector")  # what is measured is what is stored
    result["measured"] = measure_connector(bundle, photographs, recipe.measured)
    write_json(out / "connector.json", result)


def measure_connector(bundle: FlamingoBundle, photographs: Photographs, most: int) -> dict[str, Any]:
    """Held-out figures: loss, accuracy of short answers and captions, each with and without the picture."""
    held = PhotoTexts.read(photographs.root, "held_out")
    figures: dict[str, Any] = {}
    pairs = [(image, found[0]) for image, found in sorted(held.captions.items())][:most]
    references = [held.captions[image] for image, _ in pairs]
    cider = Cider(references)
    for seen in (True, False):
        name = "with" if seen else "without"
        asked = [
            Text(assistant(PLAIN[0], seen), caption, photographs.rows[image][0] if seen else NO_IMAGE)
            for image, caption in pairs
        ]
        figures[f"caption_loss_{name}"] = round(mean_loss(bundle, photographs.features, asked), 4)
        said = answer_all(bundle, photographs, [(image, PLAIN[0]) for image, _ in pairs], seen=seen, longest=32)
        figures[f"cider_{name}"] = round(100 * sum(map(cider.score, said, references)) / max(len(said), 1), 2)
        figures[f"captions_{name}"] = {image: text for (image, _), text in zip(pairs[:20], said, strict=False)}
        for source, chosen in by_source(held.questions, most).items():
            said = answer_all(bundle, photographs, [(q.image or "", q.text) for q in chosen], seen=seen)
            right = [same(text, q.answer) for text, q in zip(said, chosen, strict=True)]
            figures[f"{source}_{name}"] = round(sum(right) / len(right), 4)
            figures[f"{source}_asked"] = len(right)
        LOG.info("%s the picture: %s", name, {key: value for key, value in figures.items() if "captions_" not in key})
    return figures


def by_source(questions: Sequence[texts.Inquiry], most: int) -> dict[str, list[texts.Inquiry]]:
    """Questions of each data set, `most` at most."""
    found: dict[str, list[texts.Inquiry]] = {}
    for question in questions:
        chosen = found.setdefault(question.source, [])
        if len(chosen) < most:
            chosen.append(question)
    return found


def same(said: str, answer: str) -> bool:
    """Whether a short answer is the one expected: letters and digits compared."""
    return re.sub(r"\W+", " ", said.lower()).strip() == re.sub(r"\W+", " ", answer.lower()).strip()


def answer_all(
    bundle: FlamingoBundle,
    photographs: Photographs,
    asked: Sequence[tuple[str, str]],
    *,
    seen: bool,
    longest: int = 12,
) -> list[str]:
    """Greedy answers to questions about photographs."""
    prompts = [Prompt(assistant(text, seen), (image,) if seen else ()) for image, text in asked]
    settings = GenerationSettings(max_new_tokens=longest, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
    results = generate(
        bundle, prompts, settings, image_root=photographs.root, batch_size=64 if bundle.device.type == "cpu" else 256
    )
    return [result.text for result in results]
