"""PointQA: questions about a point in the image, which is shown by an arrow drawn on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import POINTED, draw_request
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below, need, single_turn
from polite_flamingo.sources.forms.files import find_one, read_items, read_rows, relative
from polite_flamingo.sources.forms.paths import first_existing
from polite_flamingo.sources.forms.regions import Mark, derived_from, draw_colour, draw_region, need_writable
from polite_flamingo.sources.forms.visual_genome import FOLDER as GENOME
from polite_flamingo.sources.forms.visual_genome import find_vg_image

PASCAL = "voc2010"  # below the data root


@dataclass(frozen=True, slots=True)
class Part:
    """One of the question sets.

    Args:
        file: Annotation file.
        listing: File of the image ids of a split, with a place for its name.
        splits: Splits it has.
        question: Key of the question.
        answer: Key of the answer.
        points: "many" (one answer each), "one", or "none" (the words say what is meant).
        images: Collection the images are from.
    """

    file: str
    listing: str
    splits: tuple[str, ...]
    question: str = "question"
    answer: str = "answer"
    points: Literal["many", "one", "none"] = "one"
    images: Literal["visual_genome", "pascal"] = "visual_genome"


_LOOK_TWICE = ("LookTwiceQA/looktwiceqa_dataset.json", "LookTwiceQA/looktwiceqa_{}_imgs.json", ("train", "val", "test"))
_WORDS = ("VerbalSpatial/{}_imgs_vs.json", ("train", "val", "test"))
_FOUR = ("train", "val", "testdev", "testfinal")
PARTS: Mapping[str, Part] = {
    "local": Part("LocalQA/localqa_dataset.json", "LocalQA/localqa_{}_imgs.json", _FOUR, points="many"),
    "looktwice": Part(*_LOOK_TWICE, question="super_question", answer="ans"),
    "object": Part(*_LOOK_TWICE, question="obj_question", answer="ans"),
    "general": Part(*_LOOK_TWICE, question="general_question", answer="ans"),
    "intent": Part(
        "IntentQA/intentqa_vqa.json", "IntentQA/intentqa_{}_imgs.json", _FOUR, answer="ans", images="pascal"
    ),
    "spatial": Part("VerbalSpatial/spatial_dataset.json", *_WORDS),
    "verbal": Part("VerbalSpatial/verbal_dataset.json", *_WORDS, points="none"),
}


@dataclass(frozen=True, slots=True)
class _Question:
    """A question and one of the points it is about."""

    row: str
    sample_id: str
    image: str
    record: Any
    point: Any


class PointQa:
    """PointQA, one sample per question and point (Table 6, row PointQA, 2307.01003).

    Splits are named by the set and its split: ``local_train``, ``looktwice_val``, ``general_test``, ``intent_testdev``,
    ``spatial_train``, ``verbal_train`` … Look-twice questions exist in three wordings of the same question: of the
    object's kind (``looktwice``), of the object (``object``) and without (``general``). An image a point of which is
    asked about is needed at hand: the arrow is drawn on it.
    """

    name = "pointqa"
    tasks = frozenset({Task.VQA})
    licence = "none stated"
    siblings = (GENOME, PASCAL)

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the sets of the official folder ``Datasets``, which may be `folder` itself.

        Images of Visual Genome are looked for in ``VG_100K`` and ``VG_100K_2``, those of Pascal VOC in ``JPEGImages``,
        of `folder` and of the shared folders.

        Raises:
            DataError: also when the data root is read-only and arrows have to be drawn.
        """
        part = _part(split)
        base = f"{folder}/Datasets" if (root / folder / "Datasets").is_dir() else folder
        file = find_one(root, base, part.file)
        chosen = _image_ids(find_one(root, base, part.listing.format(split.partition("_")[2])))
        where = relative(root, file)
        if part.points != "none":
            need_writable(root)
        find = partial(_find_pascal, root, folder) if part.images == "pascal" else partial(_find_genome, root, folder)
        for name, questions in read_rows(file):
            if name not in chosen:
                continue
            chosen.discard(name)
            if not isinstance(questions, list):
                yield Reject(self.name, where, name, "image has no list of questions", type(questions).__name__)
                continue
            for item in _questions(self.name, where, split, part, name, questions):
                if isinstance(item, Reject):
                    yield item
                else:
                    yield attempt(self.name, where, item.row, self._sample, root, find, part, split, item, seed)
        for name in sorted(chosen):
            yield Reject(self.name, where, name, "image of the split is not in the file")

    def _sample(
        self, root: Path, find: Callable[[str], Image], part: Part, split: str, item: _Question, seed: int
    ) -> Sample:
        question = need(item.record, part.question, str)
        answer = need(item.point, "ans", str) if part.points == "many" else _answer(item.record, part)
        image = find(item.image)
        extras: dict[str, Any] = {"answers": [answer], "question_type": split.partition("_")[0]}
        if part.points != "none":
            tip = (need(item.point, "x", float), need(item.point, "y", float))
            mark = Mark("arrow", draw_colour(seed, item.sample_id), tip)
            drawn = draw_region(root, image, mark)
            extras["derived_from"] = derived_from(drawn, image, mark)
            question = draw_request(POINTED, seed=seed, sample_id=item.sample_id, mark=mark.words, question=question)
            image = drawn
        return single_turn(
            self, split, item.sample_id, Task.VQA, question=question, answer=answer, images=(image,), extras=extras
        )


def _part(split: str) -> Part:
    name, _, subset = split.partition("_")
    if name not in PARTS or subset not in PARTS[name].splits:
        known = ", ".join(f"{name}_{subset}" for name, part in PARTS.items() for subset in part.splits)
        raise DataError("no such split", value=split, next_step=f"use one of {known}")
    return PARTS[name]


def _image_ids(file: Path) -> set[str]:
    return {str(name) for name in read_items(file)}


def _questions(
    source: str, where: str, split: str, part: Part, image: str, questions: list[Any]
) -> Iterator[_Question | Reject]:
    """The questions on an image, one per point."""
    for index, record in enumerate(questions):
        row, own = f"{image}[{index}]", f"{image}-{index}"
        points = _points(source, where, row, part, record)
        if isinstance(points, Reject):
            yield points
        elif part.points == "many":
            for number, point in enumerate(points):
                sample_id = f"{source}/{split}/{own}-{number}"
                yield _Question(f"{row}.points[{number}]", sample_id, image, record, point)
        else:
            yield _Question(row, f"{source}/{split}/{own}", image, record, points[0])


def _points(source: str, where: str, row: str, part: Part, record: Any) -> list[Any] | Reject:
    """What is pointed at: one sample each."""
    try:
        if part.points == "none":
            return [None]
        if part.points == "one":
            return [need(record, "point", dict)]
        points = need(record, "points", list)
        if not points:
            raise DataError("question has no point", value=points)
        return points
    except DataError as error:
        return Reject(source, where, row, error.what, str(error.value)[:VALUE_LENGTH])


def _answer(record: Any, part: Part) -> str:
    """The answer under the key of the set, or under the other spelling."""
    other = "ans" if part.answer == "answer" else "answer"
    return need(record, part.answer if part.answer in record or other not in record else other, str)


def _find_genome(root: Path, folder: str, name: str) -> Image:
    return find_vg_image(root, (folder, GENOME), f"{name}.jpg")


def _find_pascal(root: Path, folder: str, name: str) -> Image:
    return first_existing(root, [below(f"{base}/JPEGImages", f"{name}.jpg") for base in (folder, PASCAL)])
