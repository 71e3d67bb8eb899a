"""``polite-flamingo read``: one dataset as it was downloaded -> shards of samples, unusable rows to quarantine.

Memory does not grow with the number of rows: samples go to shards as they come, and of the images that are not there
only eight bytes each are kept.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.io.files import publishing, replacing
from polite_flamingo.io.shards import write_shards
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import catalogue, load_source
from polite_flamingo.sources.counts import expected_rows, warn_of_count
from polite_flamingo.sources.forms.files import contents, has_annotations
from polite_flamingo.sources.quarantine import Quarantine
from polite_flamingo.sources.readers.coco import Coco

SEED = 42  # `seed` of params.yaml
SAMPLES, QUARANTINE = "samples", "quarantine.jsonl"
REMEMBERED = 1 << 16  # image paths whose state is kept at hand


def read_source(name: str, raw: Path, out: Path, *, split: str | None = None, seed: int = SEED) -> list[dict[str, Any]]:
    """Read a dataset, or one split of it, into ``out/samples`` (shards) and ``out/quarantine.jsonl``.

    Images are looked for, not decoded: the stage `download` and ``polite-flamingo doctor`` do that. What `out` held of
    an earlier reading is replaced when everything is read, never before.

    Args:
        name: Dataset of the catalogue, or ``package.module:Class`` of a reader of your own.
        raw: The dataset's folder; the folder it lies in is the data root, where its siblings are looked for.
        out: Folder to write to; made if need be.
        split: Split as the dataset names it; None: all whose files are there.
        seed: Seed of drawn wordings.

    Returns:
        For each split ``split``, ``read`` (rows, rejected ones included), ``rejected``, ``images_missing`` (different
        files) and ``seconds``.

    Raises:
        DataError: the folder or an annotation file as a whole cannot be used, or `out` holds something else.
        ConfigError: unknown dataset, or no `split` given where the catalogue knows none.
    """
    reader = load_source(name)
    folder = Path(os.path.normpath(raw.absolute()))  # links stay: siblings lie beside the link
    if not folder.is_dir():
        hint = f"name the folder of the files; beside it there are {contents(folder.parent)}"
        raise DataError("dataset folder does not exist", value=str(raw), next_step=hint)
    splits = present_splits(name, folder) if split is None else (split,)
    _check_replaceable(out / SAMPLES)
    out.mkdir(parents=True, exist_ok=True)
    counts: list[dict[str, Any]] = []

    def rows(quarantine: Quarantine) -> Iterator[dict[str, Any]]:
        for each in splits:
            started = time.monotonic()
            intake = Intake(folder.parent)
            items = reader.read(folder.parent, folder.name, each, seed=seed)
            for sample in intake.samples(_with_progress(items, name, each), quarantine):
                yield sample.to_row()
            warn_of_count(name, each, intake.read)
            counts.append({"split": each, **intake.counts(), "seconds": round(time.monotonic() - started, 2)})

    with (
        replacing(out / QUARANTINE) as rejects,
        open(rejects, "w", encoding="utf-8") as file,
        publishing(out / SAMPLES) as shards,
    ):
        write_shards(shards, rows(Quarantine(file)))
    return counts


def present_splits(name: str, folder: Path) -> tuple[str, ...]:
    """The splits of a dataset whose files lie in a folder; the catalogue's first where there are none.

    Raises:
        ConfigError: the catalogue knows no splits of it.
    """
    entry = catalogue().get(name)
    if entry is None or not entry.splits:
        raise ConfigError("no split is known for this source", value=name, next_step="name one with --split")
    reader = load_source(name)
    found = tuple(split for split in entry.splits if has_annotations(reader, folder.parent, folder.name, split))
    if isinstance(reader, Coco):
        found += tuple(reader.other_splits(folder.parent, folder.name))
    return found or tuple(entry.splits)[:1]  # whose reader says what is lacking


class Intake:
    """Counts what passes: rows, rejects, and different images that are not below the data root.

    Args:
        root: Data root.
    """

    def __init__(self, root: Path) -> None:
        self.read = 0
        self.rejected = 0
        self._fresh: array[int] = array("Q")
        self._known: array[int] = array("Q")  # sorted, each once
        self._missing = functools.lru_cache(REMEMBERED)(lambda path: not (root / path).is_file())

    def samples(self, items: Iterator[Sample | Reject], quarantine: Quarantine) -> Iterator[Sample]:
        """Pass samples on, put rejects into `quarantine`, count both."""
        for item in items:
            self.read += 1
            if isinstance(item, Reject):
                self.rejected += 1
                quarantine.add(item)
                continue
            for image in item.images:
                if self._missing(image.path):
                    self._note(image.path)
            yield item

    def counts(self) -> dict[str, int]:
        """Rows, rejects, images that are missing."""
        return {"read": self.read, "rejected": self.rejected, "images_missing": self.images_missing}

    @property
    def images_missing(self) -> int:
        """Different images named by samples of which there is no file."""
        self._merge()
        return len(self._known)

    def _note(self, path: str) -> None:
        self._fresh.append(int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "little"))
        if len(self._fresh) >= max(REMEMBERED, len(self._known)):
            self._merge()

    def _merge(self) -> None:
        import numpy as np

        both = np.unique(np.concatenate([np.asarray(self._known), np.asarray(self._fresh)]))
        self._known, self._fresh = array("Q", both.astype(np.uint64).tobytes()), array("Q")


def _with_progress(items: Iterator[Sample | Reject], name: str, split: str) -> Iterator[Sample | Reject]:
    from tqdm import tqdm

    yield from tqdm(items, desc=f"{name} {split}", total=expected_rows(name, split), unit="row", mininterval=1.0)


def _check_replaceable(folder: Path) -> None:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    foreign = [name for name in names if not re.fullmatch(r"part-\d{6}\.parquet", name)]
    if foreign or (folder.exists() and not folder.is_dir()):
        raise DataError(
            "output folder holds something other than samples",
            value=sorted(foreign)[:3],
            where=folder,
            next_step="give another --out",
        )
