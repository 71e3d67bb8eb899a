"""A-OKVQA: multiple-choice questions with rationales on COCO images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, need_texts, single_turn
from polite_flamingo.sources.forms.answers import read_choices, with_choices, with_reasons
from polite_flamingo.sources.forms.coco import find_image
from polite_flamingo.sources.forms.files import find_one, read_items, relative


class Aokvqa:
    """A-OKVQA; question with its choices, raw answer "Answer: …" and the rationales (Table 6, row A-OKVQA, 2307.01003).

    The official test split has neither answers nor rationales: all its rows are rejected.
    """

    name = "aokvqa"
    tasks = frozenset({Task.VQA})
    licence = "Apache-2.0"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``aokvqa_v1p0_<split>.json``; images are looked for in `coco`."""
        file = find_one(root, folder, f"aokvqa_v1p0_{split}.json", f"aokvqa_v1p0_{split}.*.json")
        where = relative(root, file)
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, where, row, self._sample, root, (folder, coco), split, record)

    def _sample(self, root: Path, folders: tuple[str, ...], split: str, record: Any) -> Sample:
        choices, answer = read_choices(record, "correct_choice_idx")
        rationales = need_texts(record, "rationales")
        image = Image(find_image(root, folders, f"{split}2017", need(record, "image_id", int)))
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{need(record, 'question_id', str)}",
            Task.VQA,
            question=with_choices(need(record, "question", str), choices),
            answer=with_reasons(answer, rationales),
            images=(image,),
            extras={
                "choices": choices,
                "rationales": rationales,
                "short_answer": answer,
                "answers": record.get("direct_answers") or [],
            },
        )
