"""Flickr8k: five captions per image in one token file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import CAPTION, draw_request
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import SHOWN, attempt, below
from polite_flamingo.sources.files import find_one, relative

FOLDERS = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images", "images")  # the first spelling is the official one
LISTS = {"train": "trainImages", "dev": "devImages", "test": "testImages"}
ALL = "all"


class Flickr8k:
    """Flickr8k, one sample per image with all its captions in the raw answer."""

    name = "flickr8k"
    tasks = frozenset({Task.CAPTION})
    licence = "non-commercial research and education; Flickr terms"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``Flickr8k.token*.txt``: lines ``NAME.jpg#N<TAB>caption``.

        `split` is ``train``, ``dev`` or ``test``, for which ``Flickr_8k.<split>Images.txt`` must be there, or ``all``.
        """
        if split not in LISTS and split != ALL:
            raise DataError("no such split", value=split, where=folder, next_step=f"use one of {[*LISTS, ALL]}")
        file = find_one(root, folder, "Flickr8k.token*.txt", "Flickr8k_text/Flickr8k.token*.txt")
        chosen: set[str] | None = None
        if split != ALL:
            listing = find_one(root, folder, f"**/Flickr_8k.{LISTS[split]}.txt")
            chosen = set(listing.read_text(encoding="utf-8").split())
        where = relative(root, file)
        captions: dict[str, tuple[int, list[str]]] = {}
        for number, raw in enumerate(file.read_bytes().splitlines(), 1):
            line = raw.decode("utf-8", "replace")
            if not line.strip():
                continue
            match = re.fullmatch(r"(.+)#\d+\t(.*\S.*)", line)
            if match is None:
                yield Reject(self.name, where, str(number), "line is not 'NAME#N<TAB>caption'", line[:SHOWN])
            elif chosen is None or match.group(1) in chosen:
                captions.setdefault(match.group(1), (number, []))[1].append(" ".join(match.group(2).split()))
        place = next((name for name in FOLDERS if (root / folder / name).is_dir()), FOLDERS[0])
        for name, (number, texts) in captions.items():
            yield attempt(self.name, where, number, self._sample, f"{folder}/{place}", split, name, texts, seed)

    def _sample(self, images: str, split: str, name: str, texts: list[str], seed: int) -> Sample:
        sample_id = f"{self.name}/{split}/{name.rpartition('.')[0] or name}"
        request = draw_request(CAPTION, seed=seed, sample_id=sample_id)
        return Sample(
            id=sample_id,
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.CAPTION,
            turns=(Turn("human", request, (0,)), Turn("assistant", "\n".join(texts))),
            images=(below(images, name),),
            extras={"captions": texts},
        )
