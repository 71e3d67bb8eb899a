"""OCR-VQA: questions on what is written on book covers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below, need, single_turn
from polite_flamingo.sources.forms.files import find_one, read_rows, relative
from polite_flamingo.sources.forms.paths import first_existing

SPLITS = {"train": 1, "val": 2, "test": 3}
SAVED_AS = (".jpg", ".png")  # some download scripts save every cover like this


class OcrVqa:
    """OCR-VQA, one sample per question (Table 6, row OCR-VQA, 2307.01003).

    A book has several questions. One without text or answer is rejected alone, a broken book as a whole.
    """

    name = "ocrvqa"
    tasks = frozenset({Task.VQA})
    licence = "not clearly stated (Apache-2.0 according to mirrors)"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``dataset.json``; the image of a book is ``images/<key><ending of its URL>``, where GIFs occur."""
        if split not in SPLITS:
            raise DataError("no such split", value=split, where=folder, next_step=f"use one of {list(SPLITS)}")
        file = find_one(root, folder, "dataset.json")
        where = relative(root, file)
        for key, book in read_rows(file):
            try:
                number = need(book, "split", int)
                if number not in SPLITS.values():
                    raise DataError("'split' is neither 1, 2 nor 3", value=number)
                if number != SPLITS[split]:
                    continue
                questions, answers = need(book, "questions", list), need(book, "answers", list)
                if len(questions) != len(answers):
                    raise DataError("questions and answers differ in number", value=[len(questions), len(answers)])
                image = _image(root, f"{folder}/images", key, need(book, "imageURL", str))
            except DataError as error:
                yield Reject(self.name, where, key, error.what, str(error.value)[:VALUE_LENGTH])
                continue
            for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
                row = {"question": question, "answer": answer}
                yield attempt(self.name, where, f"{key}[{index}]", self._sample, split, f"{key}-{index}", image, row)

    def _sample(self, split: str, name: str, image: Image, row: Any) -> Sample:
        answer = need(row, "answer", str)
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{name}",
            Task.VQA,
            question=need(row, "question", str),
            answer=answer,
            images=(image,),
            extras={"answers": [answer]},
        )


def _image(root: Path, images: str, key: str, url: str) -> Image:
    try:
        ending = PurePosixPath(urlsplit(url).path).suffix
    except ValueError:
        ending = ""
    if not ending:
        raise DataError("'imageURL' has no file ending", value=url)
    return first_existing(root, [below(images, key + each) for each in (ending, *SAVED_AS)])
