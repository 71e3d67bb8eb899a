"""VQA-E: VQAv2 questions with an explanation of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, single_turn
from polite_flamingo.sources.forms.answers import majority, with_reasons
from polite_flamingo.sources.forms.coco import image_finder
from polite_flamingo.sources.forms.files import find_one, read_items, relative


class VqaE:
    """VQA-E; the raw answer is "Answer: …" and the explanation (Table 6, row VQA-E, 2307.01003).

    The files hold no question ids, so a sample is named by its image and its row.
    """

    name = "vqa_e"
    tasks = frozenset({Task.VQA})
    licence = "MIT"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``VQA-E_<split>_set.json``; images of COCO 2014 are looked for in `coco`."""
        file = find_one(root, folder, f"VQA-E_{split}_set*.json")
        where = relative(root, file)
        find = image_finder(root, (folder, coco), f"{split}2014")
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, where, row, self._sample, find, split, row, record)

    def _sample(self, find: Callable[[int], Image], split: str, row: int, record: Any) -> Sample:
        # the readme says image_id, the files say img_id
        image_id = need(record, "image_id" if isinstance(record, dict) and "image_id" in record else "img_id", int)
        answers = _answers(record)
        answer = (
            need(record, "multiple_choice_answer", str) if "multiple_choice_answer" in record else majority(answers)
        )
        explanation = _explanation(record)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{image_id}-{row}",
            Task.VQA,
            question=need(record, "question", str),
            answer=with_reasons(answer, [explanation]),
            images=(find(image_id),),
            extras={
                "answers": answers,
                "short_answer": answer,
                "rationales": [explanation],
                "question_type": record.get("question_type"),
                "answer_type": record.get("answer_type"),
            },
        )


def _answers(record: Any) -> list[str]:
    answers = need(record, "answers", list)
    if not all(isinstance(answer, str) for answer in answers):
        raise DataError("'answers' holds something other than text", value=answers)
    return [text for answer in answers if (text := answer.strip())]


def _explanation(record: Any) -> str:
    """The text of ``[text, score]``; a bare text is taken as it is."""
    value = record.get("explanation")
    text = value[0] if isinstance(value, list) and value else value
    if not isinstance(text, str) or not text.strip():
        raise DataError("row has no explanation", value=value)
    return " ".join(text.split())
