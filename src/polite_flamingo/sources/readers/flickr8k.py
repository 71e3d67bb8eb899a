"""Flickr8k: five captions per image in one token file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below
from polite_flamingo.sources.forms.captions import ALL, caption_sample, comma_lines, group_lines, stem, token_line
from polite_flamingo.sources.forms.files import find_one, relative
from polite_flamingo.sources.forms.paths import is_file

FOLDERS = (
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "Images",
    "images",
    "images_224",
)  # the first spelling is the official one
KAGGLE = "captions.txt"
LISTS = {"train": "trainImages", "dev": "devImages", "test": "testImages"}


class Flickr8k:
    """Flickr8k, one sample per image with all its captions in the raw answer."""

    name = "flickr8k"
    tasks = frozenset({Task.CAPTION})
    licence = "non-commercial research and education; Flickr terms"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``Flickr8k.token*.txt``: lines ``NAME.jpg#N<TAB>caption``; or ``captions.txt``, the copy on Kaggle.

        `split` is ``train``, ``dev`` or ``test``, for which ``Flickr_8k.<split>Images.txt`` must be there, or ``all``.
        """
        if split not in LISTS and split != ALL:
            raise DataError("no such split", value=split, where=folder, next_step=f"use one of {[*LISTS, ALL]}")
        file = _file(root, folder)
        chosen: set[str] | None = None
        if split != ALL:
            listing = find_one(root, folder, f"**/Flickr_8k.{LISTS[split]}.txt")
            chosen = set(listing.read_text(encoding="utf-8", errors="replace").split())
        images = next((name for name in FOLDERS if (root / folder / name).is_dir()), FOLDERS[0])
        parse = comma_lines(r"\d+_[0-9a-f]+\.jpg") if file.name == KAGGLE else token_line
        for item in group_lines(self.name, root, file, parse, chosen):
            if isinstance(item, Reject):
                yield item
            else:
                number, *rest = item
                yield attempt(
                    self.name, relative(root, file), number, self._sample, f"{folder}/{images}", split, *rest, seed
                )

    def _sample(self, images: str, split: str, name: str, captions: list[str], seed: int) -> Sample:
        return caption_sample(self, split, stem(name), below(images, name), captions, seed)


def _file(root: Path, folder: str) -> Path:
    official = ("Flickr8k.token*.txt", "Flickr8k_text/Flickr8k.token*.txt")
    if is_file(root / folder / KAGGLE) and not any(any((root / folder).glob(pattern)) for pattern in official):
        return root / folder / KAGGLE
    return find_one(root, folder, *official)
