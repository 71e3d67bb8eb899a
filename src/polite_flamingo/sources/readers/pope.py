"""POPE: is there such an object in the image? JSON Lines in files named .json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, single_turn
from polite_flamingo.sources.forms.coco import find_image, image_number
from polite_flamingo.sources.forms.files import find_one, read_lines, relative


class Pope:
    """POPE on COCO val2014; the raw answer is "yes" or "no" (section 5, evaluation)."""

    name = "pope"
    tasks = frozenset({Task.VQA})
    licence = "MIT"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``[[output/]coco/]coco_pope_<split>.json``; `split` is ``random``, ``popular`` or ``adversarial``."""
        name = f"coco_pope_{split}.json"
        file = find_one(root, folder, name, f"coco/{name}", f"output/coco/{name}")
        where = relative(root, file)
        for row, record in read_lines(self.name, root, file):
            if isinstance(record, Reject):
                yield record
            else:
                yield attempt(self.name, where, row, self._sample, root, coco, split, record)

    def _sample(self, root: Path, coco: str, split: str, record: Any) -> Sample:
        answer = need(record, "label", str).lower()
        if answer not in ("yes", "no"):
            raise DataError("'label' is neither yes nor no", value=answer)
        image = below(f"{coco}/val2014", need(record, "image", str))
        number = image_number(image.path)
        if number is not None:
            image = Image(find_image(root, (coco,), "val2014", number))
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{need(record, 'question_id', int)}",
            Task.VQA,
            question=need(record, "text", str),
            answer=answer,
            images=(image,),
            extras={"answers": [answer], "question_type": split},
        )
