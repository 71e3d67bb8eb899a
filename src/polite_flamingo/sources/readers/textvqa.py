"""TextVQA: questions that need the text in a picture read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, need_texts, single_turn
from polite_flamingo.sources.forms.answers import majority
from polite_flamingo.sources.forms.files import find_one, read_items, relative


class TextVqa:
    """TextVQA 0.5.1, one sample per question; the raw answer is the majority of ten (Table 6, row TextVQA, 2307.01003).

    Blank answers do not vote. The official test split has no answers: all its rows are rejected.
    """

    name = "textvqa"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``TextVQA_0.5.1_<split>.json``.

        Images are ``train_images/<id>.jpg``, also for ``val``, and ``test_images/<id>.jpg``.
        """
        file = find_one(root, folder, f"TextVQA_*_{split}.json")
        where = relative(root, file)
        images = f"{folder}/{'test' if split == 'test' else 'train'}_images"
        for row, record in enumerate(read_items(file, "data")):
            yield attempt(self.name, where, row, self._sample, images, split, record)

    def _sample(self, images: str, split: str, record: Any) -> Sample:
        answers = need_texts(record, "answers")
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{need(record, 'question_id', int)}",
            Task.VQA,
            question=need(record, "question", str),
            answer=majority(answers),
            images=(below(images, f"{need(record, 'image_id', str)}.jpg"),),
            extras={"answers": answers},
        )
