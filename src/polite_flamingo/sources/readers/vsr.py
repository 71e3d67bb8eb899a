"""Visual Spatial Reasoning: true or false captions on COCO images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need
from polite_flamingo.sources.forms.coco import find_image, image_number
from polite_flamingo.sources.forms.files import find_one, read_lines, relative
from polite_flamingo.sources.forms.statements import statement_sample, truth

ZERO_SHOT = "zeroshot_"
BASES = ("", "splits/", "data/splits/")


class Vsr:
    """VSR; the instruction asks whether the caption is true, the raw answer is "True" or "False" (section 5)."""

    name = "vsr"
    tasks = frozenset({Task.VQA})
    licence = "Apache-2.0"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``[random_|vsr_]<split>.jsonl`` or ``[[data/]splits/]random/<split>.jsonl``, also gzipped.

        The splits ``zeroshot_train``, ``zeroshot_dev`` and ``zeroshot_test`` are in ``zeroshot/`` beside. Images are
        looked for in the dataset's ``images`` folder, then in `coco`.
        """
        stems = [split, f"random_{split}", f"vsr_{split}", *(f"{base}random/{split}" for base in BASES)]
        if split.startswith(ZERO_SHOT):
            stems += [f"{base}zeroshot/{split.removeprefix(ZERO_SHOT)}" for base in BASES]
        file = find_one(root, folder, *(f"{stem}.jsonl{gz}" for stem in stems for gz in ("", ".gz")))
        where = relative(root, file)
        for row, record in read_lines(self.name, root, file):
            if isinstance(record, Reject):
                yield record
            else:
                yield attempt(self.name, where, row, self._sample, root, folder, coco, split, row, record, seed)

    def _sample(self, root: Path, folder: str, coco: str, split: str, row: int, record: Any, seed: int) -> Sample:
        name = need(record, "image", str)
        image = below(f"{folder}/images", name)
        if not (root / image.path).is_file():
            link = re.search(r"/(train2017|val2017)/", str(record.get("image_link")))
            subset = link.group(1) if link else "train2017"
            number = image_number(name)
            image = below(f"{coco}/{subset}", name)
            image = image if number is None else Image(find_image(root, (coco,), subset, number))
        statement, label = need(record, "caption", str), truth(record)
        extras = {"question_type": record.get("relation")}
        return statement_sample(self, split, str(row), statement, label, (image,), seed, extras)
