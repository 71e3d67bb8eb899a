"""The form of microsoft/vision-datasets: a JSON file describes datasets, an index file lists the images of a split.

An index is either text (``ARCHIVE.zip@PATH LABEL[,LABEL…]`` with a label map, labels counted from 0) or COCO JSON.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from polite_flamingo.errors import DataError
from polite_flamingo.images import resolve_image
from polite_flamingo.records import Image, Reject
from polite_flamingo.sources.base import VALUE_LENGTH, below, need
from polite_flamingo.sources.forms.files import find_one, read_items, relative
from polite_flamingo.sources.forms.paths import first_existing, is_file


class Index(Protocol):
    """The images of one split.

    Attributes:
        where: The index file, as it is written into quarantine.
        classes: Class names by number.
        rejects: Broken annotations that stand apart from their image.
    """

    where: str
    classes: list[str]
    rejects: list[Reject]

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Yield row number and raw row of each image, in the order of the file."""

    def parse(self, row: Any) -> tuple[str, list[int]]:
        """Image name and class numbers of a row; a `DataError` where it is broken or has no label."""


def describe(root: Path, folder: str, dataset: str) -> dict[str, Any]:
    """The entry of `dataset` in ``vision_datasets.json``.

    Raises:
        DataError: no such file or entry.
    """
    file = find_one(root, folder, "vision_datasets.json", "resources/vision_datasets.json")
    for entry in read_items(file):
        if isinstance(entry, dict) and entry.get("name") == dataset:
            return entry
    hint = "use the file of the ELEVATER toolkit"
    raise DataError("dataset is not described", value=dataset, where=file, next_step=hint)


def open_index(source: str, root: Path, folder: str, entry: dict[str, Any], usage: str) -> Index:
    """The index of a split.

    Args:
        source: Reader's name, for rejects.
        root: Data root.
        folder: Where the dataset's ``root_folder`` lies, below `root`.
        entry: From `describe`.
        usage: ``train``, ``val`` or ``test``.

    Raises:
        DataError: the dataset has no such split or a file is missing.
    """
    if usage not in entry:
        has = [name for name in ("train", "val", "test") if name in entry]
        raise DataError("no such split", value=usage, where=entry.get("name"), next_step=f"use one of {has}")
    base = below(folder, need(entry, "root_folder", str)).path
    index = _file(root, base, need(need(entry, usage, dict), "index_path", str))
    if entry.get("format") == "coco":
        return CocoIndex(source, index, relative(root, index))
    labels = _file(root, base, need(entry, "labelmap", str))
    return TextIndex(index, relative(root, index), labels)


def locate(root: Path, folder: str, name: str) -> Image:
    """The image ``ARCHIVE.zip@PATH``: in the folder named like the archive, or where the archive itself lies."""
    archive, at, inner = name.partition("@")
    if not at:
        return below(folder, name)
    own = below(folder, archive.removesuffix(".zip")).path
    return first_existing(root, [below(own, inner), below(folder, inner)])


def _file(root: Path, base: str, name: str) -> Path:
    path = root / below(base, name).path
    if not is_file(path):
        hint = "put the official files there"
        raise DataError("index file does not exist", value=name, where=root / base, next_step=hint)
    resolve_image(root, relative(root, path))  # refuses links that lead out
    return path


class TextIndex:
    """An index of lines; flat memory."""

    def __init__(self, path: Path, where: str, labels: Path) -> None:
        self._path = path
        self.where = where
        self.rejects: list[Reject] = []
        lines = labels.read_bytes().decode("utf-8", "replace").splitlines()
        self.classes = [" ".join(line.split()) for line in lines if line.strip()]

    def rows(self) -> Iterator[tuple[int, str]]:
        """Yield number and text of each line that is not blank."""
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.decode("utf-8", "replace").strip()

    def parse(self, row: str) -> tuple[str, list[int]]:
        """Split a line at its last blank, because paths may hold blanks."""
        parts = row.rsplit(maxsplit=1)
        if len(parts) != 2:
            raise DataError("image has no label", value=row)
        try:
            labels = [int(label) for label in parts[1].split(",")]
        except ValueError:
            raise DataError("labels are not numbers", value=row) from None
        if not all(0 <= label < len(self.classes) for label in labels):
            raise DataError("label is not in the label map", value=row)
        return parts[0], list(dict.fromkeys(labels))


class CocoIndex:
    """An index in COCO form; the labels of one split are held in memory (a few numbers per image)."""

    def __init__(self, source: str, path: Path, where: str) -> None:
        self._path = path
        self.where = where
        self.rejects: list[Reject] = []
        categories = sorted((need(c, "id", int), need(c, "name", str)) for c in read_items(path, "categories"))
        self.classes = [name for _, name in categories]
        numbers = {category: number for number, (category, _) in enumerate(categories)}
        self._labels: dict[int, array[int]] = {}
        for row, record in enumerate(read_items(path, "annotations")):
            try:
                category = need(record, "category_id", int)
                if category not in numbers:
                    raise DataError("label of an unknown category", value=category)
                labels = self._labels.setdefault(need(record, "image_id", int), array("i"))
                if numbers[category] not in labels:
                    labels.append(numbers[category])
            except DataError as error:
                value = str(error.value)[:VALUE_LENGTH]
                self.rejects.append(Reject(source, f"{where}#annotations", str(row), error.what, value))

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Yield index and record of each image."""
        yield from enumerate(read_items(self._path, "images"))

    def parse(self, row: Any) -> tuple[str, list[int]]:
        """Join the labels; the archive may stand in ``zip_file`` instead of the name."""
        name = need(row, "file_name", str)
        labels = self._labels.get(need(row, "id", int))
        if not labels:
            raise DataError("image has no label", value=name)
        archive = row.get("zip_file")
        return (f"{archive}@{name}" if isinstance(archive, str) and archive else name), list(labels)
