"""Flickr30k in its forms: the official token file, the two files of Kaggle and Karpathy's JSON file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below
from polite_flamingo.sources.forms.captions import (
    ALL,
    caption_sample,
    comma_lines,
    group_lines,
    karpathy_samples,
    stem,
    token_line,
)
from polite_flamingo.sources.forms.files import find_all, find_one, relative

FOLDERS = (
    "flickr30k-images",
    "flickr30k_images/flickr30k_images",
    "flickr30k_images",
    "Images",
    "images",
)  # official first
LINES = ("results_20130124.token", "results.csv", "flickr30k_images/results.csv", "captions.txt")
HEADER = r"\ufeff?\s*image_name\s*\|\s*comment_number\s*\|\s*comment\s*"
KARPATHY = "dataset_flickr30k.json"


def csv_line(line: str) -> tuple[str, str] | None:
    """Image name and caption of a line ``NAME.jpg| N| caption``; None for the header.

    One line of the published file (2199200615.jpg, caption 4) lacks the second bar; it is read all the same.
    """
    if re.fullmatch(HEADER, line):
        return None
    name, _, rest = line.partition("|")
    match = re.fullmatch(r"\s*\d+\s*(?:\||\s{2})\s*(\S.*)", rest)
    if match is None or not name.strip():
        raise DataError("line is not 'NAME| N| caption'")
    return name.strip(), match.group(1)


class Flickr30k:
    """Flickr30k, one sample per image with all its captions in the raw answer (Table 6, row Flickr30k)."""

    name = "flickr30k"
    tasks = frozenset({Task.CAPTION})
    licence = "non-commercial research and education; Flickr terms"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``results_20130124.token``, ``results.csv`` or ``captions.txt``; for splits ``dataset_flickr30k.json``.

        `split` is ``all``, or ``train``, ``val`` or ``test``, which only Karpathy's file knows (it lists 31,014 of the
        31,783 images).
        """
        held = (name for name in FOLDERS if any((root / folder / name).glob("*.jpg")))
        images = f"{folder}/{next(held, FOLDERS[0])}"
        lines = find_all(root, folder, *LINES, KARPATHY)
        file = next((root / folder / name for name in LINES if root / folder / name in lines), None)
        if split != ALL or file is None:

            def locate(name: str) -> Image:
                return below(images, name)

            yield from karpathy_samples(self, root, find_one(root, folder, KARPATHY), split, locate, seed)
            return
        parse = {".token": token_line, ".csv": csv_line}.get(file.suffix, comma_lines(r"\d+\.jpg"))
        for item in group_lines(self.name, root, file, parse):
            if isinstance(item, Reject):
                yield item
            else:
                number, *rest = item
                yield attempt(self.name, relative(root, file), number, self._sample, images, *rest, seed)

    def _sample(self, images: str, name: str, captions: list[str], seed: int) -> Sample:
        return caption_sample(self, ALL, stem(name), below(images, name), captions, seed)
