"""DOTA: objects in aerial images, marked by oriented boxes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.images import resolve_image
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below
from polite_flamingo.sources.forms.detection import Corners, detection_sample, normalise, number
from polite_flamingo.sources.forms.files import relative
from polite_flamingo.sources.forms.paths import first_existing

PNG = b"\x89PNG\r\n\x1a\n"


class Dota:
    """DOTA, one sample per image, its object counts as text, upright boxes in the extras (Table 6, row DOTA).

    An oriented box becomes the upright box around it. Difficult objects count like the others. The official
    annotations are in pixels and do not state the size of the image, so the header of each PNG is read (not its
    pixels: the largest images would be refused as decompression bombs).
    """

    name = "dota"
    tasks = frozenset({Task.CAPTION})
    licence = "academic use only, no commercial use"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``<train|val>/labelTxt-v1.0/*.txt`` in the order of their names.

        `split` is ``train`` or ``val``, of version 1.0; ``train-v1.5``, ``val-v2.0`` … for the others.
        """
        match = re.fullmatch(r"(train|val)(?:-v(1\.0|1\.5|2\.0))?", split)
        if match is None:
            hint = "use train or val, with -v1.5 or -v2.0 for these versions"
            raise DataError("no such split", value=split, where=folder, next_step=hint)
        part, version = match.group(1), match.group(2) or "1.0"
        files = _label_files(root, folder, part, version)
        base = root / folder / part / "images"
        inner = sorted(p for p in base.rglob("*") if p.is_dir()) if base.is_dir() else []
        folders = [f"{folder}/{part}/images", *(relative(root, path) for path in inner)]
        for file in files:
            where = relative(root, file)
            yield attempt(self.name, where, file.stem, self._sample, root, folders, split, where, file.stem, seed)

    def _sample(self, root: Path, folders: list[str], split: str, where: str, image_id: str, seed: int) -> Sample:
        text = resolve_image(root, where).read_text(encoding="utf-8", errors="replace")
        objects = list(read_labels(text))
        image = first_existing(root, [below(inner, f"{image_id}.png") for inner in folders])
        width, height = png_size(root, image)
        return detection_sample(self, split, image_id, image, normalise(objects, width, height), seed)


def _label_files(root: Path, folder: str, part: str, version: str) -> list[Path]:
    """Label files of the oriented boxes; archives are unpacked by different people into different folders."""
    folders = [f"labelTxt-v{version}", f"labelTxt-v{version}/labelTxt", f"labelTxt-v{version}/DOTA-v{version}_{part}"]
    if version == "1.0":
        folders.append("labelTxt")
    for name in folders:
        if files := sorted(p for p in (root / folder / part / name).glob("*.txt") if p.is_file()):
            return files
    raise DataError(
        "no annotation file found",
        value=[f"{part}/{name}/*.txt" for name in folders],
        where=root / folder,
        next_step="unpack the official label archive there or name another split",
    )


def read_labels(text: str) -> Iterator[tuple[str, Corners]]:
    """Yield name and upright box (pixels) of each object of a label file, lines of metadata passed over.

    Raises:
        DataError: a line is neither metadata nor eight numbers, a category and a difficulty.
    """
    for row, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or re.match(r"\s*[A-Za-z][A-Za-z ]*:", line):  # imagesource:GoogleEarth, gsd:0.146
            continue
        if len(words) not in (9, 10):
            raise DataError(f"line {row} is not eight numbers, category and difficulty", value=line)
        yield words[8].replace("-", " ").replace("_", " "), _around(words[:8], row)


def _around(words: Sequence[str], row: int) -> Corners:
    values = [number(word, f"coordinate in line {row}") for word in words]
    xs, ys = values[::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def png_size(root: Path, image: Image) -> tuple[int, int]:
    """Width and height (pixels) from the header of a PNG; nothing is decoded.

    Raises:
        DataError: missing or no PNG.
    """
    try:
        with open(resolve_image(root, image.path), "rb") as file:
            head = file.read(24)
    except (OSError, ValueError):
        raise DataError("image is missing and its size unknown", value=image.path) from None
    if len(head) < 24 or head[:8] != PNG or head[12:16] != b"IHDR":
        raise DataError("image is not a PNG and its size unknown", value=image.path)
    width, height = struct.unpack(">II", head[16:24])
    return width, height
