"""Politeness reward of a response (columns ``reward`` and ``reward_raw``; section 5).

A reward model trained on human preferences reads instruction and response and gives one logit. It is a figure to
report, not a filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.errors import ModelError
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import DECIMALS, ScoreQuestion, score_records
from polite_flamingo.scorers.batching import ROWS
from polite_flamingo.scorers.classifier import PairClassifier, load_classifier


def ask(rewrite: Rewrite) -> ScoreQuestion:
    """Instruction and rewritten answer (column ``reward``)."""
    return ScoreQuestion(rewrite.id, (rewrite.instruction, rewrite.rewritten))


def ask_raw(rewrite: Rewrite) -> ScoreQuestion:
    """Instruction and raw answer (column ``reward_raw``)."""
    return ScoreQuestion(rewrite.id, (rewrite.instruction, rewrite.raw_answer))


class RewardScorer:
    """Reward of (instruction, response)."""

    def __init__(self, classifier: PairClassifier) -> None:
        self._classifier = classifier

    def rewards(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Reward of each (instruction, response)."""
        return [row[0] for row in self._classifier.logits(pairs)]

    def score(self, rewrites: Sequence[Rewrite]) -> list[float]:
        """Reward of each rewritten answer."""
        return score_records(self, [ask(rewrite) for rewrite in rewrites])

    def answer(self, questions: Sequence[ScoreQuestion]) -> list[float]:
        """Reward of (instruction, response), rounded as published."""
        rewards = self.rewards([(instruction, response) for instruction, response in (q.texts for q in questions)])
        return [round(value, DECIMALS) for value in rewards]


def load_reward(folder: Path, *, device: str = "auto", batch_size: int = ROWS, dtype: str = "float32") -> RewardScorer:
    """Load a reward model: a sequence classifier with a single output."""
    classifier = load_classifier(folder, device=device, batch_size=batch_size, dtype=dtype)
    if classifier.model.config.num_labels != 1:
        raise ModelError(
            "reward model must have one output", value=classifier.model.config.num_labels, where=folder / "config.json"
        )
    return RewardScorer(classifier)
