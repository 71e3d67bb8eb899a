"""The question of a scorer and its answer, whoever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

from polite_flamingo.errors import ModelError

DECIMALS = 4  # as published


@dataclass(frozen=True, slots=True)
class ScoreQuestion:
    """What one score of one record depends on, besides the model.

    Args:
        key: Id of the record.
        texts: In the order the scorer's module states.
        images: Paths below the image root.
    """

    key: str
    texts: tuple[str, ...]
    images: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Characters of the texts."""
        return sum(map(len, self.texts))

    def content(self) -> Any:
        """The texts."""
        return self.texts


class Scorer(Protocol):
    """A loaded model."""

    def answer(self, questions: Sequence[ScoreQuestion]) -> list[Any]:
        """The value of a column for each question: a number or a list of numbers, rounded to `DECIMALS`.

        Each distinct text, pair or image is computed once and kept for the next call; a value depends on its own
        question only.

        Raises:
            ImageError: an image cannot be used.
            ModelError: a single text or image does not fit into memory.
        """


def score_records(scorer: Scorer, questions: Sequence[ScoreQuestion | None]) -> list[Any]:
    """The value of each record, None where there is no question about it.

    Args:
        scorer: A loaded model.
        questions: One per record.

    Raises:
        ModelError: a score is infinite or no number; names the record.
    """
    applicable = [question for question in questions if question is not None]
    values = scorer.answer(applicable)
    for question, value in zip(applicable, values, strict=True):
        if not finite(value):
            raise ModelError(
                "a score is not a finite number",
                value=value,
                where=question.key,
                next_step="check the model's weights, or set runtime.dtype to float32",
            )
    remaining = iter(values)
    return [None if question is None else next(remaining) for question in questions]


def finite(value: Any) -> bool:
    """True for a number, or a list of numbers, of which none is infinite or no number."""
    return all(map(isfinite, value)) if isinstance(value, list) else isfinite(value)
