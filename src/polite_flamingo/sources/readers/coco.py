"""COCO 2014 and 2017: captions with instance boxes."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.templates import captions_and_boxes
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need
from polite_flamingo.sources.forms.captions import caption_sample
from polite_flamingo.sources.forms.coco import (
    DECIMALS,
    NAME,
    PackedBoxes,
    collect,
    normalise_boxes,
    read_boxes,
    read_captions,
)
from polite_flamingo.sources.forms.files import find_one, read_items, read_rows, relative

OBJECTS = "chair_objects.json"
LICENCE = "annotations CC BY 4.0 (COCO Consortium); images: Flickr terms"


class Coco:
    """COCO captions, one sample per image, all its captions and boxes in the raw answer (Table 6, row COCO-2014).

    Crowd regions and boxes without area are skipped. Segmentations and keypoints are not read. Captions and boxes of
    one split are held in memory (about 0.3 GB for train2017), because the files are not grouped by image.
    """

    name = NAME
    tasks = frozenset({Task.CAPTION})
    licence = LICENCE
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``annotations/captions_<split>.json`` and, if there, the instances of the same split.

        `split` is ``train`` or ``val`` (the year is found) or ``train2014``, ``val2017``, ``val2014_part`` … Where
        ``annotations/chair_objects.json`` is there (image id -> names of all its objects), ``extras["objects"]`` has
        them, for CHAIR.
        """
        pattern = split if re.search(r"\d{4}(_\w+)?$", split) else f"{split}20[0-9][0-9]"
        file = find_one(root, folder, f"annotations/captions_{pattern}.json")
        subset = file.stem.removeprefix("captions_")
        where = relative(root, file)
        rejects: list[Reject] = []
        images: dict[int, Any] = {}
        for row, record in enumerate(read_items(file, "images")):
            collect(f"{where}#images", row, rejects, _keep_image, images, record)
        captions = read_captions(file, where, images, rejects)
        boxes: PackedBoxes = {}
        names: dict[int, str] = {}
        instances = file.with_name(f"instances_{subset}.json")
        if instances.is_file():
            boxes, names = read_boxes(instances, relative(root, instances), images, rejects)
        objects = _read_objects(file.with_name(OBJECTS), images)
        place = _place(root, folder, subset)
        yield from rejects
        for image_id, record in images.items():
            yield attempt(
                self.name,
                where,
                image_id,
                self._sample,
                place,
                split,
                record,
                captions.get(image_id),
                boxes.get(image_id),
                names,
                objects.get(image_id),
                seed,
            )

    def other_splits(self, root: Path, folder: str) -> list[str]:
        """Splits of a name of one's own, ``val2014_part``, that lie in a folder."""
        stems = (file.stem.removeprefix("captions_") for file in (root / folder).glob("annotations/captions_*.json"))
        return sorted(stem for stem in stems if re.fullmatch(r"[a-z]+\d{4}_\w+", stem))

    def _sample(
        self,
        folder: str,
        split: str,
        record: Any,
        captions: list[str] | None,
        packed: array[float] | None,
        names: Mapping[int, str],
        objects: list[str] | None,
        seed: int,
    ) -> Sample:
        image = below(folder, need(record, "file_name", str))
        if not captions:
            raise DataError("image has no caption", value=image.path)
        boxes = normalise_boxes(packed, names, record) if packed else []
        answer = captions_and_boxes(captions, boxes, DECIMALS)
        known = {} if objects is None else {"objects": objects}
        return caption_sample(self, split, record["id"], image, captions, seed, answer=answer, boxes=boxes, **known)


def _place(root: Path, folder: str, subset: str) -> str:
    """Folder of the images: named as the subset, else after its year (``val2014_224``)."""
    year = re.match(r"[a-z]+\d{4}", subset)
    places = [] if year is None else sorted((root / folder).glob(f"{year.group()}*/"))
    named = [place.name for place in places]
    return f"{folder}/{subset if subset in named or not named else named[0]}"


def _read_objects(file: Path, images: Mapping[int, Any]) -> dict[int, list[str]]:
    """Objects of the `images` by their id; a row that is none is passed over."""
    rows = read_rows(file) if file.is_file() else ()
    return {
        int(key): value
        for key, value in rows
        if key.isdecimal() and int(key) in images and isinstance(value, list) and all(isinstance(v, str) for v in value)
    }


def _keep_image(images: dict[int, Any], record: Any) -> None:
    images.setdefault(need(record, "id", int), record)
