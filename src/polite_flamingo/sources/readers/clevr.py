"""CLEVR: compositional questions on rendered scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, single_turn
from polite_flamingo.sources.forms.files import find_one, read_items, relative

ARCHIVE = "CLEVR_v1.0"  # the folder inside the official archive


class Clevr:
    """CLEVR v1.0, one sample per question, streamed (Table 6, row CLEVR, 2307.01003).

    The official test split has no answers: all its rows are rejected.
    """

    name = "clevr"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``questions/CLEVR_<split>_questions.json``; images lie in ``images/<split>/``.

        Both may stand in the folder ``CLEVR_v1.0`` of the official archive.
        """
        name = f"questions/CLEVR_{split}_questions.json"
        file = find_one(root, folder, name, f"{ARCHIVE}/{name}")
        where = relative(root, file)
        images = f"{relative(root, file.parent.parent)}/images/{split}"
        for row, record in enumerate(read_items(file, "questions")):
            yield attempt(self.name, where, row, self._sample, images, split, record)

    def _sample(self, images: str, split: str, record: Any) -> Sample:
        answer = need(record, "answer", str)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{need(record, 'question_index', int)}",
            Task.VQA,
            question=need(record, "question", str),
            answer=answer,
            images=(below(images, need(record, "image_filename", str)),),
            extras={"answers": [answer], "question_type": str(record.get("question_family_index", ""))},
        )
