"""Spot-the-Diff: two pictures and sentences on what differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.prompts.requests import CHANGE, draw_request
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, below, need, need_texts
from polite_flamingo.sources.files import find_one, read_items, relative


class SpotTheDiff:
    """Spot-the-Diff, one sample per pair, first image first (Table 6, row Spot-the-Diff).

    The difference picture ``<id>_diff.jpg`` of the official archive is not used.
    """

    name = "spot_the_diff"
    tasks = frozenset({Task.CHANGE})
    licence = "none stated"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``annotations/<split>.json``; images are ``resized_images/<id>.png`` and ``<id>_2.png``."""
        file = find_one(root, folder, f"annotations/{split}.json", f"spot_the_diff_{split}.json")
        where = relative(root, file)
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, where, row, self._sample, f"{folder}/resized_images", split, record, seed)

    def _sample(self, images: str, split: str, record: Any, seed: int) -> Sample:
        pair = need(record, "img_id", str)
        sentences = need_texts(record, "sentences")
        sample_id = f"{self.name}/{split}/{pair}"
        request = draw_request(CHANGE, seed=seed, sample_id=sample_id)
        return Sample(
            id=sample_id,
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.CHANGE,
            turns=(Turn("human", request, (0, 1)), Turn("assistant", "\n".join(sentences))),
            images=(below(images, f"{pair}.png"), below(images, f"{pair}_2.png")),
            extras={"sentences": sentences},
        )
