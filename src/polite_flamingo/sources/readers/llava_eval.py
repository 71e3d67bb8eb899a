"""LLaVA's small COCO evaluation files: GPT-4 questions and answers with the captions and boxes GPT-4 was shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, need_texts, single_turn
from polite_flamingo.sources.forms.coco import find_image, image_number
from polite_flamingo.sources.forms.detection import Box
from polite_flamingo.sources.forms.files import find_all, read_lines, relative

TASKS = {"conv": Task.DIALOGUE, "detail": Task.DETAIL, "complex": Task.REASONING}
_Lines = Iterator[tuple[str, int, Any]]  # file, line number, value


class LlavaEval:
    """``qa90_questions.jsonl`` with ``qa90_gpt4_answer.jsonl`` and ``coco2014_val_gpt4_qa_*.jsonl``.

    The two sets overlap; a question on an image is taken once. The files come without pictures: where COCO val2014 is
    not at hand, a sample has no image and says so (``extras["image_missing"]``, ``extras["image_name"]``), which serves
    text-side training only. Detailed descriptions carry ``captions`` and ``boxes`` from ``caps_boxes_*.jsonl``. The
    few-shot prompts are not read.
    """

    name = "llava_eval"
    tasks = frozenset(TASKS.values())
    licence = "Apache-2.0 (repository); data subject to COCO and OpenAI terms of use"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read every file of the set that is there; all is on COCO val2014, `split` is a label."""
        find_all(root, folder, "qa90_questions.jsonl", "coco2014_val_gpt4_qa_*.jsonl")
        rejects: list[Reject] = []
        context: dict[int, tuple[list[str], list[Box]]] = {}
        for where, row, record in self._lines(root, folder, "caps_boxes_*.jsonl", rejects):
            try:
                image_id, captions, boxes = _context(record)
                context[image_id] = (captions, boxes)
            except DataError as error:
                rejects.append(Reject(self.name, where, str(row), error.what, str(error.value)))
        seen: set[tuple[object, ...]] = set()
        for where, row, record in self._questions(root, folder, rejects):
            if isinstance(record, dict):
                key = (image_number(str(record.get("image"))), record.get("instruction"))
                if key in seen:
                    continue
                seen.add(key)
            yield attempt(self.name, where, row, self._sample, root, coco, split, record, context)
        yield from rejects

    def _lines(self, root: Path, folder: str, pattern: str, rejects: list[Reject]) -> _Lines:
        for file in sorted((root / folder).glob(pattern)):
            for row, record in read_lines(self.name, root, file):
                if isinstance(record, Reject):
                    rejects.append(record)
                else:
                    yield relative(root, file), row, record

    def _questions(self, root: Path, folder: str, rejects: list[Reject]) -> _Lines:
        answers: dict[object, Any] = {}
        for _, _, record in self._lines(root, folder, "qa90_gpt4_answer.jsonl", rejects):
            if isinstance(record, dict):
                answers[record.get("question_id")] = record.get("text")
        for where, row, record in self._lines(root, folder, "qa90_questions.jsonl", rejects):
            if isinstance(record, dict):
                yield (
                    where,
                    row,
                    {
                        "image": record.get("image"),
                        "instruction": record.get("text"),
                        "type": record.get("category"),
                        "output": answers.get(record.get("question_id")),
                    },
                )
            else:
                yield where, row, record
        yield from self._lines(root, folder, "coco2014_val_gpt4_qa_*.jsonl", rejects)

    def _sample(
        self, root: Path, coco: str, split: str, record: Any, context: dict[int, tuple[list[str], list[Box]]]
    ) -> Sample:
        name = Image(need(record, "image", str)).path
        number = image_number(name)
        kind = need(record, "type", str)
        if number is None or kind not in TASKS:
            raise DataError("row is not of this set", value=[name, kind])
        path = find_image(root, (coco,), "val2014", number)
        images = (Image(path),) if (root / path).is_file() else ()
        extras: dict[str, Any] = {} if images else {"image_missing": True, "image_name": name}
        if TASKS[kind] is Task.DETAIL and number in context:
            extras["captions"], extras["boxes"] = context[number]
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{number:012d}-{kind}",
            TASKS[kind],
            question=need(record, "instruction", str),
            answer=need(record, "output", str),
            images=images,
            extras=extras,
        )


def _context(record: Any) -> tuple[int, list[str], list[Box]]:
    number = image_number(need(record, "image", str))
    if number is None:
        raise DataError("'image' is no COCO file name", value=record["image"])
    boxes = []
    for instance in need(record, "instances", list):
        corners = need(instance, "bbox", list)
        if len(corners) != 4 or not all(isinstance(v, int | float) and 0 <= v <= 1 for v in corners):
            raise DataError("'bbox' is not four numbers between 0 and 1", value=corners)
        boxes.append([need(instance, "category", str), *corners])
    return number, need_texts(record, "captions"), boxes
