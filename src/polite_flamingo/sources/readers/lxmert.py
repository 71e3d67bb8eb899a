"""Questions and soft answers in LXMERT's form, in which VQA v2, OK-VQA and GQA are passed on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, single_turn
from polite_flamingo.sources.forms.coco import find_image, image_subset
from polite_flamingo.sources.forms.files import find_one, read_items, relative


class LxmertVqa:
    """A question with several answers and the score of each; the raw answer is the best one, of several the first."""

    name = "lxmert_vqa"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0 (VQA v2, OK-VQA, GQA); the form's repository: MIT"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``<split>.json`` or ``…_<split>_soft_answers.json``; images of COCO by name, others in ``images``."""
        file = find_one(root, folder, f"{split}.json", f"{split}_soft_answers.json", f"*_{split}_soft_answers.json")
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, relative(root, file), row, self._sample, root, folder, coco, split, record)

    def _sample(self, root: Path, folder: str, coco: str, split: str, record: Any) -> Sample:
        question_id, name = need(record, "question_id", int), f"{need(record, 'img_id', str)}.jpg"
        scores = need(record, "label", dict)
        if not all(isinstance(score, int | float) for score in scores.values()) or not all(map(str.strip, scores)):
            raise DataError("'label' is not answers with their scores", value=scores)
        if not scores:
            raise DataError("question has no answer", value=question_id)
        place = image_subset(name)
        image = below(f"{folder}/images", name) if place is None else Image(find_image(root, (folder, coco), *place))
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{question_id}",
            Task.VQA,
            question=need(record, "sent", str),
            answer=max(scores, key=lambda answer: scores[answer]).strip(),
            images=(image,),
            extras={"answers": list(scores), "answer_scores": scores},
        )
