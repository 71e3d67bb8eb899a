"""The Pascal VOC form of detection sets: a list of image ids per split and one XML file per image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import Element  # the type alone; files are parsed by defusedxml

from polite_flamingo.errors import DataError
from polite_flamingo.images import resolve_image
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below
from polite_flamingo.sources.forms.detection import Corners, detection_sample, normalise, number
from polite_flamingo.sources.forms.files import find_one, relative
from polite_flamingo.sources.forms.paths import first_existing

SPLITS = ("train", "val", "trainval", "test")


class Voc:
    """Base of the readers of sets in VOC form: one sample per listed image, its object counts as text.

    Boxes without area are left out, an image without objects is rejected. Only ids are held in memory.

    Attributes:
        lists: Folders of the split lists, the official one first.
        annotations: Folders of the XML files, the official one first.
        images: Folders of the images by split, the official one first.
        names: Names of classes the dataset writes as one word or in capitals; elsewhere ``-`` and ``_`` become blanks.
    """

    name: str
    licence: str
    tasks = frozenset({Task.CAPTION})
    siblings: tuple[str, ...] = ()
    lists: ClassVar[tuple[str, ...]]
    annotations: ClassVar[tuple[str, ...]]
    images: ClassVar[Mapping[str, tuple[str, ...]]]
    names: ClassVar[Mapping[str, str]] = {}

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the images listed in ``<split>.txt``.

        `split` is ``train``, ``val``, ``test`` or ``trainval`` (its own list where there is one, else both others).
        """
        if split not in SPLITS:
            raise DataError("no such split", value=split, where=folder, next_step=f"use one of {list(SPLITS)}")
        files = self._lists(root, folder, split)
        annotations = next((p for p in self.annotations if (root / folder / p).is_dir()), None)
        if annotations is None:
            hint = f"put the official XML files into {self.annotations[0]}"
            raise DataError("annotation folder does not exist", where=root / folder, next_step=hint)
        seen: set[str] = set()
        for file in files:
            where = relative(root, file)
            for row, line in enumerate(file.read_bytes().splitlines(), 1):
                image_id = line.decode("utf-8", "replace").strip()
                if not image_id:
                    continue
                if not re.fullmatch(r"\w[\w.-]{0,99}", image_id):
                    yield Reject(self.name, where, str(row), "line is not an image id", image_id[:VALUE_LENGTH])
                elif image_id in seen:
                    yield Reject(self.name, where, str(row), "image is listed twice", image_id)
                else:
                    seen.add(image_id)
                    path = f"{folder}/{annotations}/{image_id}.xml"
                    yield attempt(self.name, path, image_id, self._sample, root, folder, split, path, image_id, seed)

    def _lists(self, root: Path, folder: str, split: str) -> list[Path]:
        parts = [split]
        if split == "trainval" and not any((root / folder / inner / "trainval.txt").is_file() for inner in self.lists):
            parts = ["train", "val"]
        return [find_one(root, folder, *(f"{inner}/{part}.txt" for inner in self.lists)) for part in parts]

    def _sample(self, root: Path, folder: str, split: str, path: str, image_id: str, seed: int) -> Sample:
        width, height, objects = read_voc(resolve_image(root, path))
        named = [(self.names.get(name, name.replace("_", " ").replace("-", " ")), box) for name, box in objects]
        candidates = [below(f"{folder}/{inner}", f"{image_id}.jpg") for inner in self.images[split]]
        image = first_existing(root, candidates)
        return detection_sample(self, split, image_id, image, normalise(named, width, height), seed)


def read_voc(path: Path) -> tuple[float, float, list[tuple[str, Corners]]]:
    """Width and height (pixels) of the image of a VOC file, and name and corners (pixels) of each of its objects.

    Entities and outer references are refused, not resolved.

    Raises:
        DataError: missing, not XML, or an object without name or box.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, parse

    try:
        tree = parse(path).getroot()
    except FileNotFoundError:
        raise DataError("annotation file is missing", value=path.name) from None
    except DefusedXmlException as error:
        raise DataError("annotation defines XML entities", value=str(error)) from None
    except (ParseError, ValueError, LookupError, OSError) as error:
        raise DataError("annotation is not valid XML", value=str(error)) from None
    objects = []
    for item in tree.findall("object"):
        x1, y1, x2, y2 = (_number(item, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        name = " ".join((item.findtext("name") or "").split())
        if not name:
            raise DataError("object has no name", value=[x1, y1, x2, y2])
        objects.append((name, (x1, y1, x2, y2)))
    return _number(tree, "size/width"), _number(tree, "size/height"), objects


def _number(element: Element, path: str) -> float:
    text = element.findtext(path)
    if text is None or not text.strip():
        raise DataError(f"annotation lacks {path!r}")
    return number(text, repr(path))
