"""Visual Spatial Reasoning: true or false captions on COCO images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import STATEMENT, draw_request
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, below, need
from polite_flamingo.sources.coco import find_image, image_number
from polite_flamingo.sources.files import find_one, read_lines, relative


class Vsr:
    """VSR; the instruction asks whether the caption is true, the raw answer is "True" or "False" (section 5)."""

    name = "vsr"
    tasks = frozenset({Task.VQA})
    licence = "Apache-2.0"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``[random_|vsr_]<split>.jsonl``, also gzipped; images are looked for in `coco`."""
        stems = (split, f"random_{split}", f"vsr_{split}")
        file = find_one(root, folder, *(f"{stem}.jsonl{gz}" for stem in stems for gz in ("", ".gz")))
        where = relative(root, file)
        for row, record in read_lines(self.name, root, file):
            if isinstance(record, Reject):
                yield record
            else:
                yield attempt(self.name, where, row, self._sample, root, coco, split, row, record, seed)

    def _sample(self, root: Path, coco: str, split: str, row: int, record: Any, seed: int) -> Sample:
        image = below(f"{coco}/train2017", need(record, "image", str))
        number = image_number(image.path)
        if number is not None:
            image = Image(find_image(root, (coco,), "train2017", number))
        label = need(record, "label", int)
        if label not in (0, 1):
            raise DataError("'label' is neither 0 nor 1", value=label)
        statement = need(record, "caption", str)
        sample_id = f"{self.name}/{split}/{row}"
        return Sample(
            id=sample_id,
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.VQA,
            turns=(
                Turn("human", draw_request(STATEMENT, seed=seed, sample_id=sample_id, statement=statement), (0,)),
                Turn("assistant", "True" if label else "False"),
            ),
            images=(image,),
            extras={"statement": statement, "question_type": record.get("relation"), "answers": []},
        )
