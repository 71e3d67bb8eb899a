"""COCO's annotation files and images, which many datasets build on: captions, boxes, where an image lies."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject
from polite_flamingo.sources.base import VALUE_LENGTH, need
from polite_flamingo.sources.forms.detection import Box
from polite_flamingo.sources.forms.files import find_all, read_items

NAME = "coco"  # of the reader whose files these are, in rejects
DECIMALS = 3  # of box coordinates in a raw answer, as in the published PF-1M
REMEMBERED = 4096  # images whose path is kept at hand: questions on one image stand together
PackedBoxes = dict[int, "array[float]"]  # image id -> category, x, y, width, height (pixels) of each box


def find_image(root: Path, folders: Sequence[str], subset: str, image_id: int) -> str:
    """Path below `root` of a COCO image.

    Looked for under `subset` (``train2014``, ``val2017`` …) and then under the other subsets, because 2017 re-split the
    same images; as JPEG, then as PNG; then in folders named after a subset (``val2014_224``). When no file exists, its
    official path is returned.
    """
    split, year = subset[:-4], subset[-4:]
    resplit = f"{split}{'2014' if year == '2017' else '2017'}"
    subsets = dict.fromkeys((subset, resplit, "train2017", "val2017", "train2014", "val2014"))
    for folder in folders:
        for name in subsets:
            for ending in ("jpg", "png"):
                path = f"{folder}/{name}/{_stem(name, image_id)}.{ending}"
                if (root / path).is_file():
                    return path
    for folder in folders:
        for name in subsets:
            for place in sorted((root / folder).glob(f"{name}_*/{_stem(name, image_id)}.jpg")):
                return place.relative_to(root).as_posix()
    return f"{folders[-1]}/{subset}/{_stem(subset, image_id)}.jpg"


def _stem(subset: str, image_id: int) -> str:
    return f"COCO_{subset}_{image_id:012d}" if subset.endswith("2014") else f"{image_id:012d}"


def image_finder(root: Path, folders: Sequence[str], subset: str) -> Callable[[int], Image]:
    """`find_image` of one subset by image id, which remembers the last images."""

    @lru_cache(REMEMBERED)
    def find(image_id: int) -> Image:
        return Image(find_image(root, folders, subset, image_id))

    return find


def image_number(name: str) -> int | None:
    """Image id in a COCO file name (its twelve digits), None for other names."""
    match = re.search(r"(?:^|[/_])(\d{12})\.(?:jpg|jpeg|png)$", name)
    return int(match.group(1)) if match else None


def image_subset(name: str) -> tuple[str, int] | None:
    """Subset and image id of a name with the year in it (``COCO_val2014_000000000042.jpg``), None for other names."""
    match = re.search(r"(?:^|/)COCO_([a-z]+2014)_(\d{12})\.(?:jpg|jpeg|png)$", name)
    return (match.group(1), int(match.group(2))) if match else None


def read_context(root: Path, folder: str, image_ids: Collection[int]) -> dict[int, tuple[list[str], list[Box]]]:
    """Captions and normalised boxes of images, by their ids, from all captions and instances files of a COCO folder.

    Images without captions are left out, broken annotation rows are passed over (the reader of COCO itself reports
    them), a missing folder gives an empty answer.
    """
    try:
        files = find_all(root, folder, "annotations/captions_*.json")
    except DataError:
        return {}
    contexts: dict[int, tuple[list[str], list[Box]]] = {}
    ignored: list[Reject] = []
    selected = frozenset(image_ids)
    for file in files:
        images = {r["id"]: r for r in read_items(file, "images") if isinstance(r, dict) and r.get("id") in selected}
        images = {image_id: record for image_id, record in images.items() if image_id not in contexts}
        if not images:
            continue
        captions = read_captions(file, "", images, ignored, strict=False)
        boxes: PackedBoxes = {}
        names: dict[int, str] = {}
        instances = file.with_name(file.name.replace("captions_", "instances_"))
        if instances.is_file():
            boxes, names = read_boxes(instances, "", images, ignored)
        for image_id, texts in captions.items():
            packed = boxes.get(image_id)
            try:
                contexts[image_id] = (texts, normalise_boxes(packed, names, images[image_id]) if packed else [])
            except DataError:
                contexts[image_id] = (texts, [])
    return contexts


def read_captions(
    file: Path, where: str, images: Mapping[int, Any], rejects: list[Reject], strict: bool = True
) -> dict[int, list[str]]:
    """Captions by image id, of the `images` alone.

    Args:
        file: ``captions_*.json``.
        where: The file as it is written into quarantine.
        images: Records of the images by id.
        rejects: Gets the broken rows.
        strict: Whether a caption of another image is one of those.
    """
    captions: dict[int, list[str]] = {}

    def add(record: Any) -> None:
        image_id = need(record, "image_id", int)
        if image_id in images:
            captions.setdefault(image_id, []).append(" ".join(need(record, "caption", str).split()))
        elif strict:
            raise DataError("caption of an image the file does not list", value=image_id)

    for row, record in enumerate(read_items(file, "annotations")):
        collect(where, row, rejects, add, record)
    return captions


def read_boxes(
    file: Path, where: str, images: Mapping[int, Any], rejects: list[Reject]
) -> tuple[PackedBoxes, dict[int, str]]:
    """Boxes of the `images` (crowds and boxes without area left out), and the names of the categories by number."""
    names = {need(c, "id", int): need(c, "name", str) for c in read_items(file, "categories")}
    boxes: PackedBoxes = {}

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
        collect(where, row, rejects, add, record)
    return boxes, names


def collect(where: str, row: int, rejects: list[Reject], work: Callable[..., None], *args: Any) -> None:
    """Do `work` for a row; what is wrong with it goes to `rejects`."""
    try:
        work(*args)
    except DataError as error:
        rejects.append(Reject(NAME, where, str(row), error.what, str(error.value)[:VALUE_LENGTH]))


def normalise_boxes(packed: array[float], names: Mapping[int, str], image: Any) -> list[Box]:
    """Boxes of an image in parts of its size, cut off at its edge; a `DataError` where it has no size."""
    width, height = need(image, "width", float), need(image, "height", float)
    if width <= 0 or height <= 0:
        raise DataError("image size is not positive", value=[width, height])
    boxes = []
    for start in range(0, len(packed), 5):
        category, x, y, w, h = packed[start : start + 5]
        corners = (x / width, y / height, (x + w) / width, (y + h) / height)
        boxes.append([names[int(category)], *(round(min(max(v, 0.0), 1.0), 5) for v in corners)])
    return boxes
