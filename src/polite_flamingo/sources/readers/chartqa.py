"""ChartQA: questions on charts, written by people or made by a machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, single_turn
from polite_flamingo.sources.forms.files import find_all, read_items, relative

KINDS = ("human", "augmented")


class ChartQa:
    """ChartQA, one sample per question (section 5, evaluation)."""

    name = "chartqa"
    tasks = frozenset({Task.VQA})
    licence = "GPL-3.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``[ChartQA Dataset/]<split>/<split>_human.json``, then ``…_augmented.json``; charts in ``png/`` beside.

        `split` is ``train``, ``val`` or ``test``, or one half of it: ``test_human``, ``test_augmented``.
        """
        kinds = [kind for kind in KINDS if split.endswith(f"_{kind}")] or list(KINDS)
        part = split.removesuffix(f"_{kinds[0]}") if len(kinds) == 1 else split
        files = find_all(root, folder, *(f"{base}{part}/{part}_{kind}.json" for base in ("", "*/") for kind in kinds))
        for file in sorted(files, key=lambda file: [kind in file.stem for kind in KINDS], reverse=True):
            where, images = relative(root, file), f"{relative(root, file.parent)}/png"
            for row, record in enumerate(read_items(file)):
                yield attempt(self.name, where, row, self._sample, images, split, f"{file.stem}-{row}", record)

    def _sample(self, images: str, split: str, row_id: str, record: Any) -> Sample:
        answer = need(record, "label", str)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{row_id}",
            Task.VQA,
            question=need(record, "query", str),
            answer=answer,
            images=(below(images, need(record, "imgname", str)),),
            extras={"answers": [answer], "question_type": "human" if "human" in row_id else "augmented"},
        )
