"""What the question answering readers share: majority answers, choices, answers with their reasons."""

from __future__ import annotations

import re
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


def choose(choices: Sequence[str], answer: Any) -> int | None:
    """Place of the choice that an answer names: by its text, its letter or its number (from 0); None where it does not.

    Args:
        choices: In their order, with or without their letters (``A. red``).
        answer: A number is a place before it is a text.
    """
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    if not isinstance(answer, str):
        return int(answer) if answer == int(answer) and 0 <= answer < len(choices) else None
    told = answer.strip()
    for same in (choices, unlettered(choices)):
        if told in same:
            return list(same).index(told)
    letter = re.fullmatch(r"\(?([A-Za-z])[).:]?", told)
    place = ord(letter[1].upper()) - ord("A") if letter else int(told) if re.fullmatch(r"\d{1,3}", told) else -1
    return place if 0 <= place < len(choices) else None


def unlettered(choices: Sequence[str]) -> list[str]:
    """Choices without their letters (``A. red``, ``(B) green``), where each begins with its own."""
    found = [re.fullmatch(rf"\(?{chr(65 + i)}[).:]\s*(.*\S)", text, re.S) for i, text in enumerate(choices[:26])]
    return [match[1] for match in found if match] if all(found) else list(choices)


def with_reasons(answer: str, reasons: Iterable[str]) -> str:
    """Raw answer of the data sets with rationales, as in PF-1M's records: ``Answer: Five.`` and the reasons."""
    end = "" if answer.endswith((".", "!", "?")) else "."
    return " ".join((f"Answer: {answer[:1].upper()}{answer[1:]}{end}", *reasons))


def with_choices(question: str, choices: Sequence[str]) -> str:
    """``Question? a, b, or c?``, the form of A-OKVQA's questions here."""
    return f"{question} {', '.join(choices[:-1])}, or {choices[-1]}?"
