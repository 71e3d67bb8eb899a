"""What a scorer is asked and what it answers, whoever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol

from polite_flamingo.errors import ModelError
from polite_flamingo.records import Rewrite

DECIMALS = 4  # as published


@dataclass(frozen=True, slots=True)
class Asked:
    """What one score of one record depends on, besides the model.

    Args:
        texts: In the order the scorer's module states.
        images: Paths below the image root.
    """

    texts: tuple[str, ...]
    images: tuple[str, ...] = ()


class Scorer(Protocol):
    """A loaded model."""

    def answer(self, asked: Sequence[Asked]) -> list[Any]:
        """The value of a column for each question: a number or a list of numbers, rounded to `DECIMALS`.

        Each distinct text, pair or image is computed once and kept for the next call; a value depends on its own
        question only.

        Raises:
            ImageError: an image cannot be used.
            ModelError: a single text or image does not fit into memory.
        """


def score_records(scorer: Scorer, rewrites: Sequence[Rewrite], asked: Sequence[Asked | None]) -> list[Any]:
    """The value of each record, None where nothing is asked.

    Args:
        scorer: A loaded model.
        rewrites: The records.
        asked: What is asked about each.

    Raises:
        ModelError: a score is infinite or no number; names the record.
    """
    values = iter(scorer.answer([question for question in asked if question is not None]))
    found = [None if question is None else next(values) for question in asked]
    for rewrite, value in zip(rewrites, found, strict=True):
        if value is not None and not finite(value):
            raise ModelError(
                "a score is not a finite number",
                value=value,
                where=rewrite.id,
                next_step="check the model's weights, or set runtime.dtype to float32",
            )
    return found


def finite(value: Any) -> bool:
    """True for a number, or a list of numbers, of which none is infinite or no number."""
    return all(map(isfinite, value)) if isinstance(value, list) else isfinite(value)
