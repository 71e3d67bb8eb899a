"""Conceptual Captions 3M: one caption and one address per line; the images must be fetched by address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, below
from polite_flamingo.sources.forms.captions import caption_sample, decode
from polite_flamingo.sources.forms.files import find_one, open_file, relative

SPLITS = {
    "train": ("Train_GCC-training*.tsv", "GCC-training*.tsv"),
    "val": ("Validation_GCC-1.1.0-Validation*.tsv", "GCC-1.1.0-Validation*.tsv"),
}


class Cc3m:
    """Conceptual Captions 3M, one sample per line (Table 6, row CC3M).

    The file has no header and quotes nothing. Images are expected as ``GCC_train_000000000.jpg``, numbered by line from
    0, in ``images`` or in the dataset's folder itself. Many addresses are dead, so many samples lack their image: only
    what opens the image finds out.
    """

    name = "cc3m"
    tasks = frozenset({Task.CAPTION})
    licence = "free for any use, acknowledgement of Google appreciated; images: terms of their sites"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``Train_GCC-training.tsv`` (split ``train``) or ``Validation_GCC-1.1.0-Validation.tsv`` (``val``)."""
        if split not in SPLITS:
            raise DataError("no such split", value=split, where=folder, next_step=f"use one of {list(SPLITS)}")
        file = find_one(root, folder, *SPLITS[split])
        where = relative(root, file)
        images = f"{folder}/images" if (root / folder / "images").is_dir() else folder
        with open_file(file) as lines:
            for row, raw in enumerate(lines):
                image = below(images, f"GCC_{split}_{row:09d}.jpg")
                try:
                    yield self._sample(image, split, row, decode(raw), seed)
                except DataError as error:
                    excerpt = raw.decode("utf-8", "replace").rstrip("\r\n")[:VALUE_LENGTH]
                    yield Reject(self.name, where, str(row + 1), error.what, excerpt)

    def _sample(self, image: Image, split: str, row: int, line: str, seed: int) -> Sample:
        caption, tab, address = line.partition("\t")
        caption = " ".join(caption.split())
        if not tab or "\t" in address or not address.strip():
            raise DataError("line is not 'caption<TAB>address'")
        if not caption:
            raise DataError("caption is empty")
        return caption_sample(self, split, row, image, [caption], seed, url=address.strip())
