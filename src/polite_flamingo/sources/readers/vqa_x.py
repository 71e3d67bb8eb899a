"""VQA-X: VQA v2 questions with what people say in explanation of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, need_texts, single_turn
from polite_flamingo.sources.forms.answers import annotator_answers, majority, with_reasons
from polite_flamingo.sources.forms.coco import find_image, image_subset
from polite_flamingo.sources.forms.files import find_one, read_rows, relative


class VqaX:
    """VQA-X in the form of NLX-GPT; the raw answer is "Answer: …" and the first explanation, as of VQA-E."""

    name = "vqa_x"
    tasks = frozenset({Task.VQA})
    licence = "questions and answers CC BY 4.0 (VQA v2); explanations: none stated"
    siblings = ("coco",)

    def read(self, root: Path, folder: str, split: str, *, seed: int, coco: str = "coco") -> Iterator[Sample | Reject]:
        """Read ``vqaX_<split>.json``, or ``vqaX.json`` whose records say their split; both also gzipped."""
        file = find_one(root, folder, f"vqaX_{split}.json", f"vqaX_{split}.json.gz", "vqaX.json", "vqaX.json.gz")
        for question_id, record in read_rows(file):
            if not isinstance(record, dict) or record.get("split") in (None, split):
                where = relative(root, file)
                yield attempt(
                    self.name, where, question_id, self._sample, root, (folder, coco), split, question_id, record
                )

    def _sample(self, root: Path, folders: tuple[str, ...], split: str, question_id: str, record: Any) -> Sample:
        name = need(record, "image_name", str)
        place = image_subset(name)
        if place is None:
            raise DataError("'image_name' is no COCO file name", value=name)
        answers, reasons = annotator_answers(record), need_texts(record, "explanation")
        answer = majority(answers)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{question_id}",
            Task.VQA,
            question=need(record, "question", str),
            answer=with_reasons(answer, [reasons[0]]),
            images=(Image(find_image(root, folders, *place)),),
            extras={"answers": answers, "short_answer": answer, "rationales": reasons},
        )
