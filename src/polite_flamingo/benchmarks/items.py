"""What is asked: a question with its truth, and the set it belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from polite_flamingo.evaluate.sets import Kind

if TYPE_CHECKING:
    import numpy as np

COCO_NAME = re.compile(r"^COCO_(?:train|val|test)20\d\d_")
_ENDING = re.compile(r"\.(?:jpe?g|png|webp|bmp|gif)$", re.IGNORECASE)
_WORDS = re.compile(r"\w+")


class Metric(StrEnum):
    """How a set's own evaluation says whether an answer is right."""

    VQA = "vqa_accuracy"  # VQA v2, OK-VQA: ten answers, three make it right
    TEXTVQA = "textvqa_accuracy"  # the same with EvalAI's processing of both sides
    DIRECT = "direct_answer_accuracy"  # A-OKVQA
    SOFT = "soft_accuracy"  # answers with the scores that LXMERT's files give them
    CHOICE = "choice_accuracy"  # ScienceQA, A-OKVQA: letter or text of a choice
    YES_NO = "pope"  # accuracy, precision, recall, F1, share of yes
    RELAXED = "relaxed_accuracy"  # ChartQA: numbers may be 5 % off
    CONTAINED = "contained"  # GVT as LVLM-eHub evaluates it: the truth is among the words of the answer
    EXACT = "exact_match"  # GQA
    GRADE = "grade"  # MM-Vet: a file of grades is needed
    NONE = "none"  # captions, and sets without truth


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One question of a set.

    Attributes:
        id: As the set's file has it.
        question: Its words; empty where the file has none.
        image: Name or number of the image, by which intervals are clustered.
        answers: Annotated answers, captions or changes.
        weights: Score of each of `answers`, of `Metric.SOFT`.
        choices: What could be chosen.
        label: Place of the right one of `choices`; of yes and no: 1 is yes; -1: not known.
        groups: Parts of the set that are reported too: POPE's categories, MM-Vet's capabilities.
        objects: COCO objects that the image shows, for CHAIR; None: not annotated.
        aliases: Other ids of the same question.
        prompt: What a model is asked where that is more than the question: context, choices, how to answer.
    """

    id: str
    question: str = ""
    image: str = ""
    answers: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    choices: tuple[str, ...] = ()
    label: int = -1
    groups: tuple[str, ...] = ()
    objects: tuple[str, ...] | None = None
    aliases: tuple[str, ...] = ()
    prompt: str = ""


@dataclass(slots=True)
class QuestionSet:
    """The questions of one data set.

    Attributes:
        name: Of the set.
        metric: Its official one.
        kind: Captions, changes or questions.
        items: The questions in the order of their file.
        by_group: Whether its published figure is the mean over the groups, as POPE's.
        missing_is_wrong: Whether its official evaluation counts a question without answer as wrong.
        notes: What was seen in reading.
        seen: Way of contamination -> one truth value an item; empty where no training data was named.
    """

    name: str
    metric: Metric
    kind: Kind
    items: list[BenchmarkItem]
    by_group: bool = False
    missing_is_wrong: bool = False
    notes: list[str] = field(default_factory=list)
    seen: dict[str, np.ndarray[Any, np.dtype[np.bool_]]] = field(default_factory=dict)


def canonical(value: object) -> str:
    """An id as all its spellings are compared: number of a COCO image, no ending, no leading zeros.

    >>> canonical("COCO_val2014_000000393225.jpg"), canonical(12.0), canonical(" 0012")
    ('393225', '12', '12')
    """
    text = str(value).strip().replace("\\", "/").rpartition("/")[2]
    text = COCO_NAME.sub("", _ENDING.sub("", text))
    if text.endswith(".0") and text[:-2].isdecimal():
        text = text[:-2]
    return (text.lstrip("0") or "0") if text.isdecimal() else text


def bare(text: str) -> str:
    """The words of a question in lower case, which are the same in every prompt that asks it."""
    return " ".join(_WORDS.findall(text.lower().replace("<image>", " ")))
