"""Records of a study: samples with their answers, who judges which, and clicks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LABELLED, RANKED, COMMENTED, UNDONE, SEEN = KINDS = ("label", "rank", "comment", "undo", "seen")


@dataclass(frozen=True, slots=True)
class StudyAnswer:
    """An answer and who gave it, which no annotator is told.

    Args:
        model: Who gave it.
        text: What people read.
        scores: What judges said of it: ``entailed``, ``rouge_l``, ``reward`` …; those of the filters for a rewrite.
    """

    model: str
    text: str
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudyItem:
    """A sample that people judge.

    Args:
        id: The sample's id.
        dataset: Its evaluation set or source.
        question: What was asked.
        truth: The annotated answer.
        answers: In the order people see them.
        images: Hashes of its images in the file.
        also: Other annotated answers.
        stratum: What it was drawn from.
        weight: How many samples of the stratum it stands for.
    """

    id: str
    dataset: str
    question: str
    truth: str
    answers: tuple[StudyAnswer, ...]
    images: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    stratum: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class StudyEvent:
    """One click.

    Args:
        key: Made by whoever clicked; one key is kept once.
        annotator: Who.
        item: The sample's id.
        round: 1 alone, 2 seeing the others.
        kind: One of `KINDS`.
        slot: Number of the answer; None for what is about the sample.
        criterion: Which question about it.
        value: The option, the places as JSON, the comment, or the number of the event that is undone.
        clicked: When, by the clock of the annotator's device.
        at: When it was kept.
        number: Order in the file.
    """

    key: str
    annotator: str
    item: str
    round: int
    kind: str
    slot: int | None = None
    criterion: str = ""
    value: str = ""
    clicked: str = ""
    at: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """One annotator's sample: its place in their order, and their role (`drawing.JUDGE` or `drawing.CHECK`)."""

    annotator: str
    item: str
    role: str
    place: int
