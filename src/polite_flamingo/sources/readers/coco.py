"""COCO 2014 and 2017: captions with instance boxes; also where the other COCO-based datasets find images and boxes."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import CAPTION, draw_request
from polite_flamingo.prompts.templates import captions_and_boxes
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import SHOWN, attempt, below, need, single_turn
from polite_flamingo.sources.forms.files import find_all, find_one, read_items, relative

LICENCE = "annotations CC BY 4.0 (COCO Consortium); images: Flickr terms"
DECIMALS = 3  # of box coordinates in a raw answer, as in the published PF-1M
Box = list[Any]  # [name, x1, y1, x2, y2], normalised to 0..1
_Packed = dict[int, "array[float]"]  # image id -> category, x, y, width, height (pixels) of each box


class Coco:
    """COCO captions, one sample per image, all its captions and boxes in the raw answer (Table 6, row COCO-2014).

    Crowd regions and boxes without area are skipped. Segmentations and keypoints are not read. Captions and boxes of
    one split are held in memory (about 0.3 GB for train2017), because the files are not grouped by image.
    """

    name = "coco"
    tasks = frozenset({Task.CAPTION})
    licence = LICENCE
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``annotations/captions_<split>.json`` and, if there, the instances of the same split.

        `split` is ``train`` or ``val`` (the year is found) or ``train2014``, ``val2017`` …
        """
        pattern = split if re.search(r"\d{4}$", split) else f"{split}20[0-9][0-9]"
        file = find_one(root, folder, f"annotations/captions_{pattern}.json")
        subset = file.stem.removeprefix("captions_")
        where = relative(root, file)
        rejects: list[Reject] = []
        images: dict[int, Any] = {}
        for row, record in enumerate(read_items(file, "images")):
            _collect(f"{where}#images", row, rejects, _keep_image, images, record)
        captions = _captions(file, where, images, rejects)
        boxes: _Packed = {}
        names: dict[int, str] = {}
        instances = file.with_name(f"instances_{subset}.json")
        if instances.is_file():
            boxes, names = _boxes(instances, relative(root, instances), images, rejects)
        yield from rejects
        for image_id, record in images.items():
            yield attempt(
                self.name,
                where,
                image_id,
                self._sample,
                f"{folder}/{subset}",
                split,
                record,
                captions.get(image_id),
                boxes.get(image_id),
                names,
                seed,
            )

    def _sample(
        self,
        folder: str,
        split: str,
        record: Any,
        captions: list[str] | None,
        packed: array[float] | None,
        names: Mapping[int, str],
        seed: int,
    ) -> Sample:
        image = below(folder, need(record, "file_name", str))
        if not captions:
            raise DataError("image has no caption", value=image.path)
        boxes = _normalise(packed, names, record) if packed else []
        raw = captions_and_boxes(captions, boxes, DECIMALS)
        sample_id = f"{self.name}/{split}/{record['id']}"
        request = draw_request(CAPTION, seed=seed, sample_id=sample_id)
        return single_turn(
            self,
            split,
            sample_id,
            Task.CAPTION,
            question=request,
            answer=raw,
            images=(image,),
            extras={"captions": captions, "boxes": boxes},
        )


def find_image(root: Path, folders: Sequence[str], subset: str, image_id: int) -> str:
    """Path below `root` of a COCO image.

    Looked for under `subset` (``train2014``, ``val2017`` …) and then under the other subsets, because 2017 re-split the
    same images; as JPEG, then as PNG. When no file exists, its official place is returned.
    """
    split, year = subset[:-4], subset[-4:]
    resplit = f"{split}{'2014' if year == '2017' else '2017'}"
    places = dict.fromkeys((subset, resplit, "train2017", "val2017", "train2014", "val2014"))
    for folder in folders:
        for place in places:
            for ending in ("jpg", "png"):
                path = f"{folder}/{place}/{_stem(place, image_id)}.{ending}"
                if (root / path).is_file():
                    return path
    return f"{folders[-1]}/{subset}/{_stem(subset, image_id)}.jpg"


def _stem(place: str, image_id: int) -> str:
    return f"COCO_{place}_{image_id:012d}" if place.endswith("2014") else f"{image_id:012d}"


def image_number(name: str) -> int | None:
    """Image id in a COCO file name (its twelve digits), None for other names."""
    match = re.search(r"(?:^|[/_])(\d{12})\.(?:jpg|jpeg|png)$", name)
    return int(match.group(1)) if match else None


def read_context(root: Path, folder: str, wanted: Collection[int]) -> dict[int, tuple[list[str], list[Box]]]:
    """Captions and normalised boxes of the `wanted` image ids, from all captions and instances files of a COCO folder.

    Images without captions are left out, broken annotation rows are passed over (the reader of COCO itself reports
    them), a missing folder gives an empty answer.
    """
    try:
        files = find_all(root, folder, "annotations/captions_*.json")
    except DataError:
        return {}
    found: dict[int, tuple[list[str], list[Box]]] = {}
    ignored: list[Reject] = []
    chosen = frozenset(wanted)
    for file in files:
        images = {r["id"]: r for r in read_items(file, "images") if isinstance(r, dict) and r.get("id") in chosen}
        images = {image_id: record for image_id, record in images.items() if image_id not in found}
        if not images:
            continue
        captions = _captions(file, "", images, ignored, strict=False)
        boxes: _Packed = {}
        names: dict[int, str] = {}
        instances = file.with_name(file.name.replace("captions_", "instances_"))
        if instances.is_file():
            boxes, names = _boxes(instances, "", images, ignored)
        for image_id, texts in captions.items():
            packed = boxes.get(image_id)
            try:
                found[image_id] = (texts, _normalise(packed, names, images[image_id]) if packed else [])
            except DataError:
                found[image_id] = (texts, [])
    return found


def _captions(
    file: Path, where: str, images: Mapping[int, Any], rejects: list[Reject], strict: bool = True
) -> dict[int, list[str]]:
    captions: dict[int, list[str]] = {}

    def add(record: Any) -> None:
        image_id = need(record, "image_id", int)
        if image_id in images:
            captions.setdefault(image_id, []).append(" ".join(need(record, "caption", str).split()))
        elif strict:
            raise DataError("caption of an image the file does not list", value=image_id)

    for row, record in enumerate(read_items(file, "annotations")):
        _collect(where, row, rejects, add, record)
    return captions


def _boxes(file: Path, where: str, images: Mapping[int, Any], rejects: list[Reject]) -> tuple[_Packed, dict[int, str]]:
    names = {need(c, "id", int): need(c, "name", str) for c in read_items(file, "categories")}
    boxes: _Packed = {}

    def add(record: Any) -> None:
        if need(record, "image_id", int) not in images or record.get("iscrowd"):
            return
        box = need(record, "bbox", list)
        if len(box) != 4 or not all(isinstance(v, int | float) and abs(v) < 1e6 for v in box):
            raise DataError("'bbox' is not four numbers", value=box)
        if need(record, "category_id", int) not in names:
            raise DataError("box of an unknown category", value=record["category_id"])
        if box[2] > 0 and box[3] > 0:
            boxes.setdefault(record["image_id"], array("d")).extend((record["category_id"], *box))

    for row, record in enumerate(read_items(file, "annotations")):
        _collect(where, row, rejects, add, record)
    return boxes, names


def _keep_image(images: dict[int, Any], record: Any) -> None:
    images.setdefault(need(record, "id", int), record)


def _collect(where: str, row: int, rejects: list[Reject], work: Callable[..., None], *args: Any) -> None:
    try:
        work(*args)
    except DataError as error:
        rejects.append(Reject(Coco.name, where, str(row), error.what, str(error.value)[:SHOWN]))


def _normalise(packed: array[float], names: Mapping[int, str], image: Any) -> list[Box]:
    width, height = need(image, "width", float), need(image, "height", float)
    if width <= 0 or height <= 0:
        raise DataError("image size is not positive", value=[width, height])
    boxes = []
    for start in range(0, len(packed), 5):
        category, x, y, w, h = packed[start : start + 5]
        corners = (x / width, y / height, (x + w) / width, (y + h) / height)
        boxes.append([names[int(category)], *(round(min(max(v, 0.0), 1.0), 5) for v in corners)])
    return boxes
