"""Politeness reward of a response (columns ``reward`` and ``reward_raw``; section 5).

A reward model trained on human preferences reads instruction and response and gives one logit. It is a figure to
report, not a filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.errors import ModelError
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.classifier import PairClassifier, load_classifier


class RewardScorer:
    """Reward of rewritten and of raw answers."""

    column = "reward"

    def __init__(self, classifier: PairClassifier) -> None:
        self._classifier = classifier

    def rewards(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Reward of each (instruction, response)."""
        return [row[0] for row in self._classifier.logits(pairs)]

    def score(self, rewrites: Sequence[Rewrite]) -> list[float]:
        """Reward of each rewritten answer, rounded to 4 decimals as published."""
        return [round(value, 4) for value in self.rewards([(r.instruction, r.rewritten) for r in rewrites])]

    def score_raw(self, rewrites: Sequence[Rewrite]) -> list[float]:
        """Reward of each raw answer (column ``reward_raw``)."""
        return [round(value, 4) for value in self.rewards([(r.instruction, r.raw_answer) for r in rewrites])]


def load_reward(folder: Path, *, device: str = "auto", batch_size: int = 64) -> RewardScorer:
    """Load a reward model: a sequence classifier with a single output."""
    classifier = load_classifier(folder, device=device, batch_size=batch_size)
    if classifier.model.config.num_labels != 1:
        raise ModelError(
            "reward model must have one output", value=classifier.model.config.num_labels, where=folder / "config.json"
        )
    return RewardScorer(classifier)
