"""What the question answering readers share: majority answers, choices, answers with their reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.sources.base import need, need_texts


def majority(answers: Sequence[str]) -> str:
    """The answer given most often; of several, the one given first.

    Raises:
        DataError: there is none.
    """
    if not answers:
        raise DataError("row has no answer", value=answers)
    return Counter(answers).most_common(1)[0][0]


def annotator_answers(record: Any, field: str = "answer") -> list[str]:
    """The annotators' answers of a VQA annotation (``answers[].answer``), blank ones left out; [] where none are given.

    Raises:
        DataError: `answers` is not a list of such objects.
    """
    if record.get("answers") is None:
        return []
    answers = need(record, "answers", list)
    if not all(isinstance(answer, dict) and isinstance(answer.get(field), str) for answer in answers):
        raise DataError(f"an answer lacks its text {field!r}", value=answers)
    return [text for answer in answers if (text := answer[field].strip())]


def read_choices(record: Any, field: str) -> tuple[list[str], str]:
    """The choices of a multiple-choice question and the right one, whose index `field` holds.

    Raises:
        DataError: a blank choice, fewer than two, or an index that names none.
    """
    choices = need_texts(record, "choices")
    index = need(record, field, int)
    if len(choices) != len(record["choices"]):
        raise DataError("a choice is blank", value=record["choices"])
    if len(choices) < 2 or not 0 <= index < len(choices):
        raise DataError(f"{field!r} names no choice", value=index)
    return choices, choices[index]


def with_reasons(answer: str, reasons: Iterable[str]) -> str:
    """Raw answer of the data sets with rationales, as in PF-1M's records: ``Answer: Five.`` and the reasons."""
    end = "" if answer.endswith((".", "!", "?")) else "."
    return " ".join((f"Answer: {answer[:1].upper()}{answer[1:]}{end}", *reasons))


def with_choices(question: str, choices: Sequence[str]) -> str:
    """``Question? a, b, or c?``, the form of A-OKVQA's questions here."""
    return f"{question} {', '.join(choices[:-1])}, or {choices[-1]}?"
