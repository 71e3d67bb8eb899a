"""RefCOCOg: expressions that single out an object of a COCO image, in the Google and the UMD split."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, need
from polite_flamingo.sources.forms.coco import find_image
from polite_flamingo.sources.forms.expressions import SUBSET, PixelBox, pixel_box, region_sample
from polite_flamingo.sources.forms.files import find_all, find_one, read_items, read_rows, relative
from polite_flamingo.sources.forms.pickles import load_plain
from polite_flamingo.sources.forms.regions import need_writable


@dataclass(slots=True)
class _Object:
    """An object and what is said of it, before its box is known."""

    row: str
    official: int
    annotation: int
    image: int
    expressions: list[str] = field(default_factory=list)
    box: PixelBox | None = None


class Refcocog:
    """RefCOCOg, one sample per object with all its expressions in the raw answer (Table 6, row RefCOCOg).

    The object is marked on the image by a coloured box or circle, which the instruction names; so the images are needed
    at hand. Expressions and boxes of a split are held in memory (about 50 MB for train).
    """

    name = "refcocog"
    tasks = frozenset({Task.CAPTION})
    licence = "CC BY 4.0"
    siblings: tuple[str, ...] = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read one split; images are looked for in the dataset's folder, then in `coco`.

        `split` is ``google_train`` or ``google_val``, from ``google_refexp_<split>_201511_coco_aligned.json`` or else
        ``google_refexp_<split>_201511.json`` with COCO's ``instances_train2014.json``; or ``umd_train``, ``umd_val`` or
        ``umd_test``, from ``refs(umd).p`` and the ``instances.json`` beside it. A bare ``train``, ``val`` or ``test``
        is of the one partition the folder holds.

        Raises:
            DataError: also when the data root is read-only.
        """
        partition, subset = _partition(root, folder, split)
        if partition == "google":
            objects = _google(self.name, root, folder, subset, coco)
        else:
            objects = _umd(self.name, root, folder, subset)
        checked = False
        for item in objects:
            if isinstance(item, Reject):
                yield item
                continue
            if not checked:
                need_writable(root)
                checked = True
            where, thing = item
            yield attempt(self.name, where, thing.row, self._sample, root, (folder, coco), split, thing, seed)

    def _sample(self, root: Path, folders: tuple[str, str], split: str, thing: _Object, seed: int) -> Sample:
        if thing.box is None:
            raise DataError("object has no box", value=thing.annotation)
        image = Image(find_image(root, folders, SUBSET, thing.image))
        return region_sample(self, root, split, thing.official, image, thing.box, thing.expressions, seed)


def _partition(root: Path, folder: str, split: str) -> tuple[str, str]:
    partition, _, subset = split.rpartition("_")
    if partition in ("google", "umd"):
        return partition, subset
    held = {"google": f"**/google_refexp_{split}_*.json", "umd": "**/refs(umd).p"}
    files = find_all(root, folder, *held.values())
    partitions = ["umd" if file.suffix == ".p" else "google" for file in files]
    if len(set(partitions)) > 1:
        hint = f"name the split google_{split} or umd_{split}"
        raise DataError("folder holds both partitions", value=split, where=root / folder, next_step=hint)
    return partitions[0], split


def _google(source: str, root: Path, folder: str, subset: str, coco: str) -> Iterator[Reject | tuple[str, _Object]]:
    files = find_all(root, folder, f"**/google_refexp_{subset}_*.json")
    aligned = [file for file in files if file.stem.endswith("_coco_aligned")]
    file, *others = aligned or files
    if others:
        names = [relative(root, each) for each in (file, *others)]
        raise DataError("more than one annotation file fits", value=names, where=root / folder, next_step="keep one")
    where = relative(root, file)
    raw: dict[int, str] = {}
    for row, record in read_rows(file, "refexps"):
        try:
            raw[need(record, "refexp_id", int)] = " ".join(need(record, "raw", str).split())
        except DataError as error:
            yield Reject(source, f"{where}#refexps", row, error.what, str(error.value)[:VALUE_LENGTH])
    objects: dict[int, _Object] = {}
    for row, record in read_rows(file, "annotations"):
        try:
            number = need(record, "annotation_id", int)
            ids = need(record, "refexp_ids", list)
            thing = _Object(row, number, number, need(record, "image_id", int))
            thing.box = pixel_box(record) if aligned else None
            if not all(isinstance(each, int) for each in ids):
                raise DataError("'refexp_ids' holds something other than numbers", value=ids)
        except DataError as error:
            yield Reject(source, where, row, error.what, str(error.value)[:VALUE_LENGTH])
            continue
        objects.setdefault(number, thing).expressions.extend(raw[each] for each in ids if each in raw)
    if not aligned:
        _add_boxes(_instances(root, folder, coco), objects.values())
    yield from ((where, thing) for thing in objects.values())


def _umd(source: str, root: Path, folder: str, subset: str) -> Iterator[Reject | tuple[str, _Object]]:
    file = find_one(root, folder, "**/refs(umd).p")
    where = relative(root, file)
    refs = load_plain(file)
    if not isinstance(refs, list):
        raise DataError("pickle holds no list", where=file, next_step="check that it is the official file")
    objects: list[_Object] = []
    for row, record in enumerate(refs):
        try:
            if need(record, "split", str) != subset:
                continue
            number, annotation, image = (need(record, key, int) for key in ("ref_id", "ann_id", "image_id"))
            objects.append(_Object(str(row), number, annotation, image, _sentences(record)))
        except DataError as error:
            yield Reject(source, where, str(row), error.what, str(error.value)[:VALUE_LENGTH])
    if not objects:
        raise DataError("file has no row of this split", value=subset, where=file, next_step="train, val or test")
    _add_boxes(find_one(root, file.parent.relative_to(root).as_posix(), "instances.json"), objects)
    yield from ((where, thing) for thing in objects)


def _sentences(record: Any) -> list[str]:
    """What annotators wrote (``raw``); the cleaned ``sent`` only where that is blank."""
    sentences = need(record, "sentences", list)
    texts = [s.get("raw") or s.get("sent") if isinstance(s, dict) else None for s in sentences]
    if not all(isinstance(text, str) for text in texts):
        raise DataError("a sentence has no text", value=sentences)
    return [text for text in (" ".join(str(text).split()) for text in texts) if text]


def _instances(root: Path, folder: str, coco: str) -> Path:
    names = ("instances_train2014.json", "annotations/instances_train2014.json")
    try:
        return find_one(root, folder, *names)
    except DataError:
        return find_one(root, coco, names[1])


def _add_boxes(file: Path, objects: Collection[_Object]) -> None:
    """Take the objects' boxes from COCO's instances; what is broken there leaves its object without one."""
    by_annotation: dict[int, list[_Object]] = {}
    for thing in objects:
        by_annotation.setdefault(thing.annotation, []).append(thing)
    for record in read_items(file, "annotations"):
        number = record.get("id") if isinstance(record, dict) else None
        for thing in by_annotation.get(number, ()) if isinstance(number, int) else ():
            try:
                thing.box = pixel_box(record)
            except DataError:
                continue
