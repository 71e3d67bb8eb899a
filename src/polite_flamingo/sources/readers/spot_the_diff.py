"""Spot-the-Diff: two pictures and sentences on what differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.prompts.requests import CHANGE
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, need_texts
from polite_flamingo.sources.forms.files import find_one, read_items, relative
from polite_flamingo.sources.forms.pairs import Ids, pair_sample
from polite_flamingo.sources.forms.paths import first_existing


class SpotTheDiff:
    """Spot-the-Diff, one sample per row, first image first (Table 6, row Spot-the-Diff).

    A few pairs of val and test stand in several rows, by different people: their ids end in ``-2``, ``-3``. The
    difference picture ``<id>_diff.jpg`` of the official archive is not used.
    """

    name = "spot_the_diff"
    tasks = frozenset({Task.CHANGE})
    licence = "none stated"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``annotations/<split>.json``; images are ``resized_images/<id>.png`` and ``<id>_2.png``."""
        file = find_one(root, folder, f"annotations/{split}.json", f"spot_the_diff_{split}.json")
        where = relative(root, file)
        ids = Ids()
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, where, row, self._sample, root, folder, split, record, ids, seed)

    def _sample(self, root: Path, folder: str, split: str, record: Any, ids: Ids, seed: int) -> Sample:
        pair = need(record, "img_id", str)
        sentences = need_texts(record, "sentences")
        images = (_picture(root, folder, pair), _picture(root, folder, f"{pair}_2"))
        return pair_sample(self, split, ids.unique(pair), CHANGE, images, sentences, seed)


def _picture(root: Path, folder: str, name: str) -> Image:
    return first_existing(root, [below(f"{folder}/resized_images", f"{name}.{ending}") for ending in ("png", "jpg")])
