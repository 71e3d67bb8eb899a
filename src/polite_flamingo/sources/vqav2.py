"""VQAv2: open-ended questions on COCO images with ten answers each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need
from polite_flamingo.sources.coco import find_image
from polite_flamingo.sources.files import find_one, read_items, relative

OFFICIAL_SPLITS = frozenset({"train", "val", "test", "test-dev"})


class Vqav2:
    """VQAv2, one sample per question; the raw answer is the majority answer (Table 6, row VQAv2).

    Questions are held in memory and joined with the streamed annotations on ``question_id``.
    """

    name = "vqav2"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``v2_OpenEnded_mscoco_<split>2014_questions.json`` and ``v2_mscoco_<split>2014_annotations.json``.

        A `split` that VQAv2 does not have is a label for whichever single split the folder holds (a held-out domain in
        a folder of its own). Images are looked for in the dataset's folder, then in `coco`.
        """
        pattern = split if re.search(r"\d{4}$", split) else f"{split}20[0-9][0-9]" if split in OFFICIAL_SPLITS else "*"
        questions_file = find_one(root, folder, f"v2_OpenEnded_mscoco_{pattern}_questions*.json")
        subset = questions_file.name.removeprefix("v2_OpenEnded_mscoco_").partition("_questions")[0]
        answers_file = find_one(root, folder, f"v2_mscoco_{subset}_annotations*.json")
        where = relative(root, questions_file)
        questions: dict[int, tuple[int, Any]] = {}
        for row, record in enumerate(read_items(questions_file, "questions")):
            try:
                questions[need(record, "question_id", int)] = (row, record)
            except DataError as error:
                yield Reject(self.name, where, str(row), error.what, str(error.value))
        folders = (folder, coco)
        for row, record in enumerate(read_items(answers_file, "annotations")):
            yield attempt(
                self.name,
                relative(root, answers_file),
                row,
                self._sample,
                root,
                folders,
                subset,
                split,
                record,
                questions,
            )
        for row, record in questions.values():
            yield Reject(self.name, where, str(row), "question has no annotation", str(record["question_id"]))

    def _sample(
        self,
        root: Path,
        folders: tuple[str, ...],
        subset: str,
        split: str,
        record: Any,
        questions: dict[int, tuple[int, Any]],
    ) -> Sample:
        question_id = need(record, "question_id", int)
        _, question = questions.pop(question_id, (0, None))
        if question is None:
            raise DataError("annotation of an unknown or repeated question", value=question_id)
        text = need(question, "question", str)
        answer = need(record, "multiple_choice_answer", str)
        image = Image(find_image(root, folders, subset, need(question, "image_id", int)))
        return Sample(
            id=f"{self.name}/{split}/{question_id}",
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.VQA,
            turns=(Turn("human", text, (0,)), Turn("assistant", answer)),
            images=(image,),
            extras={
                "answers": [need(a, "answer", str) for a in record.get("answers") or []],
                "question_type": record.get("question_type"),
                "answer_type": record.get("answer_type"),
            },
        )
