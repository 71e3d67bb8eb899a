"""Image2Paragraph (Stanford paragraphs): a paragraph on each of 19,561 images of Visual Genome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, need
from polite_flamingo.sources.forms.captions import ALL, caption_sample
from polite_flamingo.sources.forms.files import find_one, read_items, relative
from polite_flamingo.sources.forms.visual_genome import FOLDER, PARTS, find_vg_image


class Image2paragraph:
    """Stanford paragraphs, one sample per image (Table 6, row Image2Paragraph).

    An image with a second paragraph keeps the first, the second is rejected.
    """

    name = "image2paragraph"
    tasks = frozenset({Task.CAPTION})
    licence = "CC BY 4.0 (Visual Genome)"
    siblings: tuple[str, ...] = (FOLDER,)

    def read(
        self, root: Path, folder: str, split: str, *, seed: int, visual_genome: str = FOLDER
    ) -> Iterator[Sample | Reject]:
        """Read ``paragraphs_v1.json``; the images of a split stand in ``<split>_split.json``, ``all`` takes every one.

        Images are named by the last two parts of their address, ``VG_100K/ID.jpg`` or ``VG_100K_2/ID.jpg``, and looked
        for in the dataset's folder, then in `visual_genome`.
        """
        file = find_one(root, folder, "paragraphs_v1.json")
        where = relative(root, file)
        selected: set[int] | None = None
        if split != ALL:
            listing = find_one(root, folder, f"{split}_split.json")
            selected = set()
            for row, image_id in enumerate(read_items(listing)):
                if isinstance(image_id, int):
                    selected.add(image_id)
                else:
                    excerpt = str(image_id)[:VALUE_LENGTH]
                    yield Reject(self.name, relative(root, listing), str(row), "image id is not a number", excerpt)
        seen: set[int] = set()
        for row, record in enumerate(read_items(file)):
            named = record.get("image_id") if isinstance(record, dict) else None
            if selected is None or not isinstance(named, int) or named in selected:
                folders = (folder, visual_genome)
                yield attempt(self.name, where, row, self._sample, root, folders, split, record, seen, seed)
        for image_id in sorted((selected or set()) - seen):
            yield Reject(self.name, where, str(image_id), "image of the split has no paragraph")

    def _sample(
        self, root: Path, folders: tuple[str, str], split: str, record: Any, seen: set[int], seed: int
    ) -> Sample:
        image_id = need(record, "image_id", int)
        if image_id in seen:
            raise DataError("image has a paragraph already", value=image_id)
        seen.add(image_id)
        path = PurePosixPath(urlsplit(need(record, "url", str)).path)
        if path.parent.name not in PARTS:
            raise DataError("address does not end in VG_100K/… or VG_100K_2/…", value=record["url"])
        paragraph = " ".join(need(record, "paragraph", str).split())
        image = find_vg_image(root, folders, path.name, path.parent.name)
        return caption_sample(self, split, image_id, image, [paragraph], seed)
