"""AI2D: multiple-choice questions on the diagrams of science books."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below, need, single_turn
from polite_flamingo.sources.forms.answers import with_choices
from polite_flamingo.sources.forms.files import find_all, find_one, relative
from polite_flamingo.sources.forms.regions import derive, need_writable

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

NULL = frozenset({"", "{}"})  # stands where a question has fewer than four answers
SPLITS = ("train", "test")
LARGEST = 100_000  # pixels from the corner; NaN is refused too
FONT = (8, 100)  # smallest and largest letters, in pixels
Label = tuple[str, float, float, float, float]


class Ai2d:
    """AI2D, one sample per question (section 5, evaluation).

    Questions with ``abcLabel`` speak of letters that stand in place of the diagram's own words ("What is A in the
    diagram?"): the letters of ``annotations/<image>.json`` are drawn into a derived image. Empty answers are left out
    of the choices, repeated ones taken once.
    """

    name = "ai2d"
    tasks = frozenset({Task.VQA})
    licence = "none stated; Allen Institute for AI, research"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``[ai2d/]questions/<image>.json``, images in number order.

        ``ai2d_test_ids.csv`` lists the images of the split ``test``; all others are ``train``.
        """
        if split not in SPLITS:
            raise DataError("no such split", value=split, where=folder, next_step=f"use one of {list(SPLITS)}")
        listing = find_one(root, folder, "ai2d_test_ids.csv", "ai2d/ai2d_test_ids.csv")
        test = set(listing.read_text(encoding="utf-8", errors="replace").split())
        files = find_all(root, folder, "questions/*.json", "ai2d/questions/*.json")
        need_writable(root)
        for file in sorted(files, key=lambda path: (len(path.stem), path.stem)):
            if (file.name.partition(".")[0] in test) is not (split == "test"):
                continue
            where = relative(root, file)
            base = relative(root, file.parent.parent)
            try:
                record = read_json(file)
                name, questions = need(record, "imageName", str), need(record, "questions", dict)
            except DataError as error:
                yield Reject(self.name, where, "", error.what, str(error.value)[:VALUE_LENGTH])
                continue
            for row, (text, question) in enumerate(questions.items()):
                yield attempt(self.name, where, row, self._sample, root, base, split, name, text, question)

    def _sample(self, root: Path, base: str, split: str, name: str, text: str, question: Any) -> Sample:
        choices, answer = _choices(question)
        row_id = need(question, "questionId", str)
        if not text.strip():
            raise DataError("question is empty", value=row_id)
        source = below(f"{base}/images", name)
        image, extras = source, {}
        if question.get("abcLabel"):
            labels = _labels(read_json(root / below(f"{base}/annotations", f"{name}.json").path))
            recipe = {"kind": "letters", "labels": [list(label) for label in labels]}
            image = derive(root, source, recipe, lambda picture: _draw(picture, labels))
            extras = {"derived_from": {image.path: {"image": source.path, "mark": recipe}}}
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{row_id}",
            Task.VQA,
            question=with_choices(text.strip(), choices),
            answer=answer,
            images=(Image(image.path),),
            extras={"choices": choices, "answers": [answer], **extras},
        )


def _choices(question: Any) -> tuple[list[str], str]:
    texts, index = need(question, "answerTexts", list), need(question, "correctAnswer", int)
    if not all(isinstance(text, str) for text in texts):
        raise DataError("'answerTexts' holds something other than text", value=texts)
    if not 0 <= index < len(texts) or texts[index].strip() in NULL:
        raise DataError("'correctAnswer' names no answer", value=index)
    choices = list(dict.fromkeys(text.strip() for text in texts if text.strip() not in NULL))
    if len(choices) < 2:
        raise DataError("question has fewer than two answers", value=texts)
    return choices, texts[index].strip()


def _labels(annotation: Any) -> list[Label]:
    """Letters and the pixels of the words they replace, where these have an area."""
    labels = []
    for part in need(annotation, "text", dict).values():
        letter, corners = need(part, "replacementText", str), need(part, "rectangle", list)
        numbers = [value for corner in corners if isinstance(corner, list) for value in corner]
        if len(numbers) != 4 or not all(type(value) in (int, float) and abs(value) < LARGEST for value in numbers):
            raise DataError("'rectangle' is not two corners", value=corners)
        x1, y1, x2, y2 = numbers
        if x1 < x2 and y1 < y2:
            labels.append((letter, x1, y1, x2, y2))
    return labels


def _draw(picture: PILImage, labels: list[Label]) -> None:
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(picture)
    for letter, *box in labels:
        pen.rectangle(box, fill="white", outline="black")
        size = min(max(FONT[0], min(box[3] - box[1], 1.5 * (box[2] - box[0]))), FONT[1])
        font = ImageFont.load_default(size=size)
        pen.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), letter, fill="black", font=font, anchor="mm")
