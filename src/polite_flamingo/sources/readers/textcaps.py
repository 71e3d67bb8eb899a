"""TextCaps: captions that read the text in the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below, need
from polite_flamingo.sources.forms.captions import caption_sample
from polite_flamingo.sources.forms.files import find_one, read_items, relative
from polite_flamingo.sources.forms.paths import first_existing

EACH = "_captions"  # end of the name of a split that has a sample per caption
_Image = tuple[int, dict[str, None]]  # first row, captions


class Textcaps:
    """TextCaps, one sample per image with all its captions in the raw answer (Table 6, row TextCaps).

    Table 6 counts more samples than there are images: split ``train_captions`` has one per caption of ``train``.

    The file has a row per caption, and each row repeats all captions of its image: rows are grouped by ``image_id`` and
    each caption is taken once. The file is streamed, its captions are held (about 15 MB for train). The official test
    split has no captions: all its rows are rejected.
    """

    name = "textcaps"
    tasks = frozenset({Task.CAPTION})
    licence = "CC BY 4.0"
    siblings: tuple[str, ...] = ("textvqa",)

    def read(
        self, root: Path, folder: str, split: str, *, seed: int, textvqa: str = "textvqa"
    ) -> Iterator[Sample | Reject]:
        """Read ``TextCaps_0.1_<split>.json``; images are looked for in the dataset's folder, then in `textvqa`.

        They are ``train_images/<image_id>.jpg``, also for ``val``, and ``test_images/<image_id>.jpg``.
        """
        part = split.removesuffix(EACH)
        file = find_one(root, folder, f"TextCaps_0.[0-9]_{part}.json")
        where = relative(root, file)
        by_image: dict[str, _Image] = {}
        for row, record in enumerate(read_items(file, "data")):
            try:
                image_id, captions = need(record, "image_id", str), _captions(record)
            except DataError as error:
                yield Reject(self.name, where, str(row), error.what, str(error.value)[:VALUE_LENGTH])
                continue
            by_image.setdefault(image_id, (row, {}))[1].update(captions)
        base = f"{'test' if part == 'test' else 'train'}_images"
        bases = (f"{folder}/{base}", f"{textvqa}/{base}")
        for image_id, (row, texts) in by_image.items():
            sets = (
                {f"{image_id}/{n}": [text] for n, text in enumerate(texts)} if part != split else {image_id: [*texts]}
            )
            for official, each in sets.items():
                yield attempt(self.name, where, row, self._sample, root, bases, split, (image_id, official), each, seed)

    def _sample(
        self, root: Path, bases: tuple[str, str], split: str, ids: tuple[str, str], captions: list[str], seed: int
    ) -> Sample:
        image_id, official = ids
        images = [below(base, f"{image_id}.jpg") for base in bases]
        return caption_sample(self, split, official, first_existing(root, images), captions, seed)


def _captions(record: Any) -> dict[str, None]:
    """All captions a row names, in order, each once."""
    all_of_image, own = record.get("reference_strs") or [], record.get("caption_str") or ""
    if not isinstance(all_of_image, list) or not all(isinstance(text, str) for text in (*all_of_image, own)):
        raise DataError("a caption is not text", value=[all_of_image, own])
    captions = dict.fromkeys(" ".join(text.split()) for text in (*all_of_image, own))
    captions.pop("", None)
    if not captions:
        raise DataError("row has no caption", value=record["image_id"])
    return captions
