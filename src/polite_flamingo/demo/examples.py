"""Records to begin with, drawn from the profile's own data: by the hash of seed and id, no one chose them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polite_flamingo.draws import key
from polite_flamingo.errors import DataError
from polite_flamingo.images import open_image
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import read_shards
from polite_flamingo.records import Sample, Task

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DemoExample:
    """A record to begin with.

    Args:
        id: Of the sample.
        task: What is asked.
        question: Its first turn.
        answer: The annotation.
        images: Copies of its images.
    """

    id: str
    task: Task
    question: str
    answer: str
    images: tuple[Path, ...]


def draw_examples(samples: Path, image_root: Path, copies: Path, *, number: int, seed: int) -> list[DemoExample]:
    """Draw records with images; those whose images cannot be shown are left out, and it is said.

    Args:
        samples: Shard folder of samples; it need not be there.
        image_root: Folder that image paths are relative to.
        copies: Folder that the images are copied to.
        number: Records at most.
        seed: Of the draw.
    """
    if not samples.is_dir():
        return []
    names = [row["id"] for row in read_shards(samples, ["id", "images"]) if row["images"] != "[]"]
    drawn = sorted(names, key=lambda name: key(f"{seed}:{name}:demo"))[: 2 * number]
    order = {name: place for place, name in enumerate(drawn)}
    rows = [row for row in read_shards(samples) if row["id"] in order]
    rows.sort(key=lambda row: order[row["id"]])
    found = _usable([Sample.from_row(row) for row in rows], image_root, copies)
    return [example for _, example in zip(range(number), found, strict=False)]


def _usable(samples: list[Sample], image_root: Path, copies: Path) -> Iterator[DemoExample]:
    for sample in samples:
        paths = [sample.images[index].path for index in sample.turns[0].images]
        try:
            for path in paths:
                open_image(image_root, path)
        except DataError as error:
            LOG.warning("left out of the page: %s: %s", sample.id, error)
            continue
        images = tuple(_copied(image_root / path, copies / fingerprint(path)) for path in paths)
        yield DemoExample(sample.id, sample.task, sample.instruction, sample.response, images)


def _copied(image: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(image, folder / f"image{image.suffix}"))
