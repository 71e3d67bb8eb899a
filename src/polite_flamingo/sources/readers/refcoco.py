"""RefCOCO, RefCOCO+ and RefCOCOg as lists of sentences with boxes, the form MiniGPT-4 evaluates on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, need
from polite_flamingo.sources.forms.coco import find_image
from polite_flamingo.sources.forms.expressions import SUBSET, PixelBox, pixel_box, region_sample
from polite_flamingo.sources.forms.files import find_all, read_items, relative
from polite_flamingo.sources.forms.regions import need_writable


class Refcoco:
    """Sentences on marked objects, one sample per object with all its sentences in the raw answer.

    A row is ``{img_id, sents, bbox, height, width}``: ``img_id`` is ``COCO_train2014_<image>_<object>``, ``sents`` one
    sentence. The object is marked on the image as for RefCOCOg, so the images are needed at hand.
    """

    name = "refcoco"
    tasks = frozenset({Task.CAPTION})
    licence = "BSD-3-Clause (lists of MiniGPT-4)"
    siblings: tuple[str, ...] = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``<split>.json``, a list, or the list `split` of a JSON file; images are looked for in `coco`.

        `split` is ``refcoco_testA``, ``refcoco+_val``, ``refcocog_test`` …

        Raises:
            DataError: also when the data root is read-only.
        """
        files = find_all(root, folder, "*.json")
        own = next((file for file in files if file.stem == split), None)
        if own is None and len(files) > 1:
            raise DataError("no file of this split", value=split, where=root / folder, next_step=f"add {split}.json")
        file = own or files[0]
        where = relative(root, file)
        objects: dict[str, tuple[int, Any, list[str]]] = {}
        for row, record in enumerate(read_items(file, None if own else split)):
            try:
                name, sentence = need(record, "img_id", str), " ".join(need(record, "sents", str).split())
                box = pixel_box(record)
            except DataError as error:
                yield Reject(self.name, where, str(row), error.what, str(error.value)[:VALUE_LENGTH])
                continue
            objects.setdefault(name, (row, box, []))[2].append(sentence)
        need_writable(root)
        for name, (row, box, sentences) in objects.items():
            args = (root, (folder, coco), split, name, box, sentences, seed)
            yield attempt(self.name, where, row, self._sample, *args)

    def _sample(
        self,
        root: Path,
        folders: tuple[str, str],
        split: str,
        name: str,
        box: PixelBox,
        sentences: list[str],
        seed: int,
    ) -> Sample:
        match = re.fullmatch(r"COCO_train2014_(\d{12})_\d+", name)
        if match is None:
            raise DataError("'img_id' is not COCO_train2014_<image>_<object>", value=name)
        image = Image(find_image(root, folders, SUBSET, int(match.group(1))))
        return region_sample(self, root, split, name, image, box, sentences, seed)
