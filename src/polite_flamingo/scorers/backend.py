"""A scorer as a backend of the engine, so that scoring has what rewriting has: journal, content-hash keys, cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polite_flamingo.jobs.outcomes import AnswerFormat
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.scorers.base import ScoreQuestion, Scorer, finite


@dataclass(frozen=True, slots=True)
class Score:
    """The value of a column: a number, or a list of numbers."""

    value: float | list[float]


SCORES = AnswerFormat(Score)


class ScorerBackend:
    """Answers with scores; one that is not finite is an error of its record, never a score.

    Args:
        load: Loads the model, at the first question.
        identity: Content hash of the model and of the settings its scores depend on.
    """

    batch_size = 64  # of which the engine makes a call of a few; how the model is batched is the scorer's own

    def __init__(self, load: Callable[[], Scorer], identity: str) -> None:
        self._load = load
        self._scorer: Scorer | None = None
        self.identity = identity

    def answer(self, questions: Sequence[ScoreQuestion]) -> list[Score | Failure]:
        """The score of each question.

        Raises:
            ImageError: an image cannot be used.
            ModelError: the model cannot be used, or a single text does not fit into memory.
        """
        if self._scorer is None:
            self._scorer = self._load()
        return [
            Score(value) if finite(value) else Failure(f"error: the score is not a finite number: {value}")
            for value in self._scorer.answer(questions)
        ]

    def close(self) -> None:
        """Free the model."""
        self._scorer = None
