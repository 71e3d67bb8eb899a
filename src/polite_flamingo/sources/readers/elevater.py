"""ELEVATER image classification: fifteen datasets in one form, with knowledge about their classes."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import CLASSIFY
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need
from polite_flamingo.sources.forms.captions import caption_sample
from polite_flamingo.sources.forms.knowledge import ClassKnowledge, read_knowledge
from polite_flamingo.sources.forms.vision_datasets import Index, describe, locate, open_index


@dataclass(frozen=True)
class Elevater:
    """One dataset of ELEVATER-IC, one sample per image (Table 6, row ELEVATER; 32 images of each class).

    The question is "What is this?". The raw answer is a template with the class in it and, on lines of their own, what
    is known of the class. Templates are CLIP's zero-shot prompts, which the toolkit uses; of a dataset's several, the
    one that claims nothing of the picture but its class. An image with several labels has a line for each.

    Args:
        name: Name in the catalogue.
        dataset: Name in ``vision_datasets.json`` and in the names of the knowledge files.
        template: The prompt, ``{}`` for the class.
    """

    name: str
    dataset: str
    template: str = "a photo of a {}."
    tasks = frozenset({Task.CAPTION})
    licence = "academic research (ELEVATER); the licence of the original dataset applies"
    siblings = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the index that ``vision_datasets.json`` names, in its order.

        `split` is ``train``, ``val`` or ``test``; with a number (``train32``) only so many images of each class, drawn
        with the seed, as the paper does. Images lie in folders named like the archives of the index.
        """
        match = re.fullmatch(r"(train|val|test)([1-9]\d{0,5})?", split)
        if match is None:
            hint = "use train, val or test, with a number for so many images of each class (train32)"
            raise DataError("no such split", value=split, where=folder, next_step=hint)
        entry = describe(root, folder, self.dataset)
        index = open_index(self.name, root, folder, entry, match.group(1))
        rejects = index.rejects
        known = read_knowledge(self.name, root, folder, self.dataset, index.classes, rejects)
        images = below(folder, need(entry, "root_folder", str)).path
        chosen = None if match.group(2) is None else self._choose(index, split, int(match.group(2)), seed)
        yield from rejects
        for number, row in index.rows():
            if chosen is None or number in chosen:
                args = (root, images, split, index, row, known, seed)
                yield attempt(self.name, index.where, number, self._sample, *args)

    def _choose(self, index: Index, split: str, shots: int, seed: int) -> set[int]:
        """Rows with the `shots` smallest draws of each class, and those that are broken."""
        best: dict[int, list[tuple[float, int]]] = {}
        chosen = set()
        for number, row in index.rows():
            try:
                name, labels = index.parse(row)
            except DataError:
                chosen.add(number)
                continue
            draw = Random(f"{seed}:{self.name}/{split}/{name}:shots").random()
            for label in labels:
                drawn = best.setdefault(label, [])
                if len(drawn) < shots:
                    heapq.heappush(drawn, (-draw, number))
                else:
                    heapq.heappushpop(drawn, (-draw, number))
        return chosen.union(number for drawn in best.values() for _, number in drawn)

    def _sample(
        self, root: Path, images: str, split: str, index: Index, row: Any, known: list[ClassKnowledge], seed: int
    ) -> Sample:
        name, labels = index.parse(row)
        classes = [known[label] for label in labels]
        captions = [self.template.format(c.name) for c in classes]
        lines = [f"{c.name}: {text}" for c in classes for text in c.texts]
        return caption_sample(
            self,
            split,
            name,
            locate(root, images, name),
            captions,
            seed,
            answer="\n".join([*captions, *lines]),
            request=CLASSIFY,
            labels=[c.name for c in classes],
            wordnet={c.name: list(c.path) for c in classes if c.path},
        )


CALTECH_101 = partial(Elevater, "elevater_caltech_101", "caltech-101")
CIFAR_10 = partial(Elevater, "elevater_cifar_10", "cifar-10")
CIFAR_100 = partial(Elevater, "elevater_cifar_100", "cifar-100")
DTD = partial(Elevater, "elevater_dtd", "dtd", "a photo of a {} texture.")
EUROSAT = partial(Elevater, "elevater_eurosat", "eurosat_clip", "a centered satellite photo of {}.")
FER_2013 = partial(Elevater, "elevater_fer_2013", "fer-2013", "a photo of a {} looking face.")
FGVC_AIRCRAFT = partial(
    Elevater, "elevater_fgvc_aircraft", "fgvc-aircraft-2013b-variants102", "a photo of a {}, a type of aircraft."
)
FOOD_101 = partial(Elevater, "elevater_food_101", "food-101", "a photo of {}, a type of food.")
GTSRB = partial(Elevater, "elevater_gtsrb", "gtsrb", 'a centered photo of a "{}" traffic sign.')
MNIST = partial(Elevater, "elevater_mnist", "mnist", 'a photo of the number: "{}".')
OXFORD_FLOWERS = partial(Elevater, "elevater_oxford_flowers", "oxford-flower-102", "a photo of a {}, a type of flower.")
OXFORD_PETS = partial(Elevater, "elevater_oxford_pets", "oxford-iiit-pets", "a photo of a {}, a type of pet.")
RESISC45 = partial(Elevater, "elevater_resisc45", "resisc45_clip", "satellite imagery of {}.")
STANFORD_CARS = partial(Elevater, "elevater_stanford_cars", "stanford-cars")
VOC_2007 = partial(Elevater, "elevater_voc_2007", "voc-2007-classification")
