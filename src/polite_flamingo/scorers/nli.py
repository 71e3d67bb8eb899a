"""Does the rewritten answer entail, contradict or ignore the raw one (column ``nli``; section 4.2)?

A cross-encoder over two sentences in the authors' wording; the rewritten answer is the premise. Applies to VQA.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.errors import ModelError
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import DECIMALS, ScoreQuestion, score_records
from polite_flamingo.scorers.batching import ROWS
from polite_flamingo.scorers.classifier import PairClassifier, load_classifier

LABELS = ("contradiction", "entailment", "neutral")  # the order of the three logits, as published


def nli_pair(question: str, output: str, original: str) -> tuple[str, str]:
    """Premise (the rewritten answer) and hypothesis (the raw one)."""
    return (
        f'"{output}" is the answer to the question: "{question}"',
        f'"{original}" is the answer to the question: "{question}"',
    )


def nli_label(logits: Sequence[float]) -> str:
    """The label of the largest of three logits in the order of `LABELS`."""
    return LABELS[max(range(len(LABELS)), key=lambda i: logits[i])]


def ask(rewrite: Rewrite) -> ScoreQuestion | None:
    """Premise and hypothesis of a VQA rewrite; None for other tasks."""
    if not rewrite.task.is_vqa:
        return None
    return ScoreQuestion(rewrite.id, nli_pair(rewrite.instruction, rewrite.rewritten, rewrite.raw_answer))


class NliScorer:
    """Three logits per pair, in the order of `LABELS` whatever order the model has.

    Args:
        classifier: A loaded cross-encoder.
        order: Position of each of `LABELS` among the model's outputs.
    """

    def __init__(self, classifier: PairClassifier, order: Sequence[int]) -> None:
        self._classifier = classifier
        self._order = tuple(order)

    def logits(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Logits of (premise, hypothesis) pairs."""
        return [[row[i] for i in self._order] for row in self._classifier.logits(pairs)]

    def score(self, rewrites: Sequence[Rewrite]) -> list[list[float] | None]:
        """Logits of each VQA rewrite; None for other tasks."""
        return score_records(self, [ask(rewrite) for rewrite in rewrites])

    def answer(self, questions: Sequence[ScoreQuestion]) -> list[list[float]]:
        """Logits of (premise, hypothesis), rounded as published."""
        rows = self.logits([(premise, hypothesis) for premise, hypothesis in (q.texts for q in questions)])
        return [[round(value, DECIMALS) for value in row] for row in rows]


def load_nli(folder: Path, *, device: str = "auto", batch_size: int = ROWS, dtype: str = "float32") -> NliScorer:
    """Load an NLI cross-encoder; its config must name the three labels.

    Raises:
        ModelError: the folder holds no such model.
    """
    classifier = load_classifier(folder, device=device, batch_size=batch_size, dtype=dtype)
    names = {int(i): str(name).lower() for i, name in classifier.model.config.id2label.items()}
    if sorted(names.values()) != sorted(LABELS):
        raise ModelError(
            "NLI model does not name its labels",
            value=names,
            where=folder / "config.json",
            next_step=f"set id2label to {', '.join(LABELS)} in the order of its outputs",
        )
    by_name = {name: i for i, name in names.items()}
    return NliScorer(classifier, [by_name[label] for label in LABELS])
