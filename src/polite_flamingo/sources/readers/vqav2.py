"""VQAv2: open-ended questions on COCO images with ten answers each; OK-VQA has the same files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, need, single_turn
from polite_flamingo.sources.forms.answers import annotator_answers, majority
from polite_flamingo.sources.forms.coco import image_finder
from polite_flamingo.sources.forms.files import find_one, read_items, relative
from polite_flamingo.sources.forms.join import join

OFFICIAL_SPLITS = frozenset({"train", "val", "test", "test-dev"})


class Vqav2:
    """VQAv2, one sample per question; the raw answer is the majority answer (Table 6, row VQAv2, 2307.01003).

    Questions and annotations are both streamed and joined on ``question_id``, in the order of the annotations.
    """

    name = "vqav2"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0"
    siblings = ("coco",)
    prefix = "v2_"  # of the official file names

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``v2_OpenEnded_mscoco_<split>2014_questions.json`` and ``v2_mscoco_<split>2014_annotations.json``.

        A `split` that the dataset does not have is a label for whichever single split the folder holds (a held-out
        domain in a folder of its own). Images are looked for in the dataset's folder, then in `coco`.
        """
        pattern = split if re.search(r"\d{4}$", split) else f"{split}20[0-9][0-9]" if split in OFFICIAL_SPLITS else "*"
        stem = f"{self.prefix}OpenEnded_mscoco_"
        questions_file = find_one(root, folder, f"{stem}{pattern}_questions*.json")
        subset = questions_file.name.removeprefix(stem).partition("_questions")[0]
        answers_file = find_one(root, folder, f"{self.prefix}mscoco_{subset}_annotations*.json")
        questions_name, answers_name = relative(root, questions_file), relative(root, answers_file)

        image = image_finder(root, (folder, coco), subset)
        pairs = join(
            enumerate(read_items(questions_file, "questions")),
            enumerate(read_items(answers_file, "annotations")),
            _question_id,
            _question_id,
        )
        for question, annotation, problem in pairs:
            if problem is not None:
                file, (row, _) = (questions_name, question) if annotation is None else (answers_name, annotation)
                yield Reject(self.name, file, str(row), problem.what, str(problem.value)[:VALUE_LENGTH])
            elif annotation is None:
                row, record = question
                yield Reject(
                    self.name, questions_name, str(row), "question has no annotation", str(record["question_id"])
                )
            else:
                row, record = annotation
                yield attempt(
                    self.name, answers_name, row, self._sample, image, split, question and question[1], record
                )

    def _sample(self, image: Callable[[int], Image], split: str, question: Any, record: Any) -> Sample:
        question_id = need(record, "question_id", int)
        if question is None:
            raise DataError("annotation of an unknown or repeated question", value=question_id)
        text = need(question, "question", str)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{question_id}",
            Task.VQA,
            question=text,
            answer=self._answer(record),
            images=(image(need(question, "image_id", int)),),
            extras=self._extras(record),
        )

    def _answer(self, record: Any) -> str:
        return need(record, "multiple_choice_answer", str)

    def _extras(self, record: Any) -> dict[str, Any]:
        return {
            "answers": annotator_answers(record),
            "question_type": record.get("question_type"),
            "answer_type": record.get("answer_type"),
        }


class OkVqa(Vqav2):
    """OK-VQA: questions that need outside knowledge, one sample each, for evaluation.

    Its annotations hold no majority answer, so it is counted here over the answers as they are scored
    (``answers[].answer``, which the authors stemmed); the annotators' own words are in ``extras["raw_answers"]``.
    """

    name = "okvqa"
    prefix = ""

    def _answer(self, record: Any) -> str:
        return majority(annotator_answers(record))

    def _extras(self, record: Any) -> dict[str, Any]:
        own_words = any("raw_answer" in answer for answer in record["answers"])
        return super()._extras(record) | ({"raw_answers": annotator_answers(record, "raw_answer")} if own_words else {})


def _question_id(item: tuple[int, Any]) -> int:
    return need(item[1], "question_id", int)
