"""DAQUAR: questions of people about indoor photographs (NYU-Depth V2), in its form of two lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below, single_turn
from polite_flamingo.sources.forms.captions import ALL, decode
from polite_flamingo.sources.forms.files import find_one, open_file, relative

QUESTION = re.compile(r"(?P<asked>.*\S\s+(?P<name>image\s?\d+))\s*\?\s*")
IN_THE_IMAGE = re.compile(r"\s+(?:in|on|from)\s+(?:the|this)\s+image\s?\d+(?!\S)")
NUMBER = re.compile(r"\bimage\s?\d+\b")
FOLDERS = ("nyu_depth_images", "images")  # the first is the official one
ENDINGS = ("png", "jpg")


class Daquar:
    """DAQUAR, one sample per question; several answers stand in one, with commas.

    The number of the image is taken out of the question. A line that is no question is the answer to the one before.
    """

    name = "daquar"
    tasks = frozenset({Task.VQA})
    licence = "none stated"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``qa.894.raw.<split>.txt``, or ``qa.37.raw.<split>.txt`` where the split is called ``37_…``.

        The split ``all`` is ``qa_pairs.txt`` or ``all_qa_pairs.txt``.
        """
        kind, rest = ("37", split[3:]) if split.startswith("37_") else ("894", split)
        names = ("qa_pairs.txt", "all_qa_pairs.txt") if split == ALL else (f"qa.{kind}.raw.{rest}.txt",)
        file = find_one(root, folder, *names)
        where = relative(root, file)
        asked: tuple[int, re.Match[str]] | None = None
        with open_file(file) as lines:
            for number, raw in enumerate(lines, 1):
                try:
                    line = decode(raw).strip()
                except DataError as error:
                    yield Reject(self.name, where, str(number), error.what, raw.decode("utf-8", "replace").strip())
                    continue
                question = QUESTION.fullmatch(line)
                if question is not None:
                    if asked is not None:
                        yield self._unanswered(where, asked)
                    asked = number, question
                elif line and asked is None:
                    yield Reject(self.name, where, str(number), "answer without a question", line[:VALUE_LENGTH])
                elif line and asked is not None:
                    yield attempt(self.name, where, asked[0], self._sample, root, folder, split, asked, line)
                    asked = None
        if asked is not None:
            yield self._unanswered(where, asked)

    def _unanswered(self, where: str, asked: tuple[int, re.Match[str]]) -> Reject:
        return Reject(self.name, where, str(asked[0]), "question has no answer", asked[1].string[:VALUE_LENGTH])

    def _sample(self, root: Path, folder: str, split: str, asked: tuple[int, re.Match[str]], answer: str) -> Sample:
        number, question = asked
        name = "".join(question["name"].split())
        text = NUMBER.sub("image", IN_THE_IMAGE.sub("", question["asked"]))
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{name}-{number}",
            Task.VQA,
            question=f"{text}?",
            answer=answer.replace("_", " "),
            images=(_find(root, folder, name),),
            extras={"answers": [answer.replace("_", " ")]},
        )


def _find(root: Path, folder: str, name: str) -> Image:
    places = [below(f"{folder}/{place}", f"{name}.{ending}") for place in FOLDERS for ending in ENDINGS]
    return next((image for image in places if (root / image.path).is_file()), places[0])
