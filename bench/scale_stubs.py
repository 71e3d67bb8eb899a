"""Annotations, a rewriter and scorers without a model: what curation costs beside its models is all that is left.

Everything follows from a record's number. One record in twenty repeats an earlier answer, openings are as unequal as in
captions, half of the records are captions of two paragraphs, the other half questions.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from polite_flamingo.records import Generated, Image, Sample, Task, Turn
from polite_flamingo.rewrite.question import RewriteQuestion
from polite_flamingo.scorers.base import ScoreQuestion

IMAGES = 2000
RECORDS_PER_IMAGE = 5
SOURCES = (("captions", Task.CAPTION), ("questions", Task.VQA), ("more_captions", Task.CAPTION))
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "dlmnrst"]
OPENINGS = ("The image shows", "There is a", "In this picture", "A photo of", "We can see", "This is a")
COPIES = 20  # one record in so many says what an earlier one says


def samples(count: int, start: int = 0) -> Iterator[Sample]:
    """Annotations number `start` to `start` + `count`."""
    for number in range(start, start + count):
        source, task = SOURCES[number % 4 % 3]
        image = Image(f"{number // RECORDS_PER_IMAGE % IMAGES}.jpg")
        said = f"a {word(number, 1)} and {1 + number % 9} {word(number, 2)}s on a {word(number, 3)}"
        asked = "Describe the image." if task.is_caption else f"What is beside the {word(number, 4)}?"
        turns = (Turn("human", asked, (0,)), Turn("assistant", said if task.is_caption else word(number, 1)))
        yield Sample(f"{source}/train/{number:09d}", source, "train", "CC-BY-4.0", task, turns, (image,))


def word(number: int, place: int) -> str:
    """A word of a record."""
    return WORDS[zlib.crc32(b"%d:%d" % (number, place)) % len(WORDS)]


def pictures(folder: Path) -> None:
    """The images of all records."""
    from PIL import Image as Pillow

    folder.mkdir(parents=True)
    for number in range(IMAGES):
        Pillow.new("RGB", (64, 64), (number % 256, number // 256, 30)).save(folder / f"{number}.jpg")


class StubRewriter:
    """Answers at once: a caption with two paragraphs of some forty words, a question with one sentence."""

    identity = "stub"
    batch_size = 32

    def answer(self, questions: Sequence[RewriteQuestion]) -> list[Generated]:
        """Answer every question."""
        return [Generated(rewritten(question), "stop", 60) for question in questions]

    def close(self) -> None:
        """Nothing to free."""


def rewritten(question: RewriteQuestion) -> str:
    """The polite answer."""
    number = int(question.key.rpartition("/")[2])
    if number % COPIES == 7:
        number = Random(number).randrange(number)
        number -= number % COPIES == 7
    random = Random(number)
    opening = OPENINGS[min(int(random.expovariate(0.7)), len(OPENINGS) - 1)]
    if question.instruction.startswith("Describe"):
        first, second = (" ".join(random.choices(WORDS, k=20)) for _ in range(2))
        return f"{opening} {question.draft}, {first}.\n\n{random.choice(WORDS).title()} {second}."
    return f"{opening} {question.draft}: {' '.join(random.choices(WORDS, k=12))}."


class StubScorer:
    """Scores that nearly all filters pass.

    Args:
        name: One of the scorers.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def answer(self, questions: Sequence[ScoreQuestion]) -> list[Any]:
        """A score for every question."""
        return [self._score(question) for question in questions]

    def _score(self, question: ScoreQuestion) -> Any:
        share = zlib.crc32(f"{self._name} {question.key}".encode()) / 2**32
        if self._name == "clip":
            return [round(15 + 15 * (share * (i + 3) % 1), 4) for i in range(len(question.texts))]
        if self._name == "sts":
            return [round(0.35 + 0.6 * share, 4)] * (len(question.texts) - 1)
        if self._name == "nli":
            return [round(4 * share - 3.5, 4), round(3 - 2 * share, 4), 0.5]
        return round(6 * share - 3, 4)
