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

    The raw answer is CLIP's zero-shot prompt and, on lines of their own, what is known of the class. An image with
    several labels names them all.

    Args:
        name: Name in the catalogue.
        dataset: Name in ``vision_datasets.json`` and in the names of the knowledge files.
    """

    name: str
    dataset: str
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
        caption = f"a photo of {_enumerate([c.name for c in classes])}"
        lines = [f"{c.name}: {text}" for c in classes for text in c.texts]
        return caption_sample(
            self,
            split,
            name,
            locate(root, images, name),
            [caption],
            seed,
            answer="\n".join([caption, *lines]),
            request=CLASSIFY,
            labels=[c.name for c in classes],
            wordnet={c.name: list(c.path) for c in classes if c.path},
        )


def _enumerate(names: list[str]) -> str:
    *others, last = (f"a {name}" for name in names)
    return f"{', '.join(others)} and {last}" if others else last


CALTECH_101 = partial(Elevater, "elevater_caltech_101", "caltech-101")
CIFAR_10 = partial(Elevater, "elevater_cifar_10", "cifar-10")
CIFAR_100 = partial(Elevater, "elevater_cifar_100", "cifar-100")
DTD = partial(Elevater, "elevater_dtd", "dtd")
EUROSAT = partial(Elevater, "elevater_eurosat", "eurosat_clip")
FER_2013 = partial(Elevater, "elevater_fer_2013", "fer-2013")
FGVC_AIRCRAFT = partial(Elevater, "elevater_fgvc_aircraft", "fgvc-aircraft-2013b-variants102")
FOOD_101 = partial(Elevater, "elevater_food_101", "food-101")
GTSRB = partial(Elevater, "elevater_gtsrb", "gtsrb")
MNIST = partial(Elevater, "elevater_mnist", "mnist")
OXFORD_FLOWERS = partial(Elevater, "elevater_oxford_flowers", "oxford-flower-102")
OXFORD_PETS = partial(Elevater, "elevater_oxford_pets", "oxford-iiit-pets")
RESISC45 = partial(Elevater, "elevater_resisc45", "resisc45_clip")
STANFORD_CARS = partial(Elevater, "elevater_stanford_cars", "stanford-cars")
VOC_2007 = partial(Elevater, "elevater_voc_2007", "voc-2007-classification")
