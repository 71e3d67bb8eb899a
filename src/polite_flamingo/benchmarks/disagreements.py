"""Answers on which judge and truth disagree, the most polite first: a bounded number, kept while answers are read."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass, field
from typing import Any

from polite_flamingo.benchmarks.items import BenchmarkItem, QuestionSet
from polite_flamingo.evaluate.sets import Kind

MOST = 40  # of all models together
LONGEST = 1200  # characters of a text that is shown
SURE = 0.5  # of a set's own metric, from which an answer counts as right
CLOSE = 0.6  # cosine from which a caption counts as similar


@dataclass(slots=True)
class Disagreements:
    """The worst of them so far."""

    _heap: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)

    def add(self, model: str, own: QuestionSet, item: BenchmarkItem, text: str, scores: dict[str, float]) -> None:
        """Look at one answer.

        Args:
            model: Whose.
            own: The set.
            item: The question.
            text: The answer.
            scores: Its columns.
        """
        why = _why(own, item, scores)
        if why is None:
            return
        rank = scores.get("reward", 0.0)
        key = hashlib.sha256(f"{model}:{own.name}:{item.id}".encode("utf-8", "replace")).hexdigest()
        if len(self._heap) == MOST and (rank, key) <= self._heap[0][:2]:
            return
        told = {
            "model": model,
            "set": own.name,
            "id": item.id,
            "image": item.image,
            "question": item.question[:LONGEST],
            "text": text[:LONGEST],
            "truth": " / ".join(dict.fromkeys(item.answers))[:LONGEST],
            "why": why,
        }
        (heapq.heapreplace if len(self._heap) == MOST else heapq.heappush)(self._heap, (rank, key, told))

    def worst(self) -> list[dict[str, Any]]:
        """What was kept, the most polite first."""
        return [told for _, _, told in sorted(self._heap, reverse=True, key=lambda one: one[:2])]


def _why(own: QuestionSet, item: BenchmarkItem, scores: dict[str, float]) -> str | None:
    """In what judge and truth disagree; None where they do not, or one of them says nothing."""
    polite = f", reward {scores['reward']:.2f}" if "reward" in scores else ""
    if own.kind is Kind.QUESTION and "nli" in scores and "right" in scores:
        right = scores["right"] >= SURE
        if bool(scores["nli"]) == right:
            return None
        judged, told = ("entailed", "wrong") if scores["nli"] else ("not entailed", "right")
        return f"{judged} by the NLI judge, {told} by {own.metric}{polite}"
    if own.kind is Kind.CAPTION and scores.get("chair_s") and scores.get("sts", 0.0) >= CLOSE:
        objects = f"{scores['invented']:.0f} invented object{'s' * (scores['invented'] != 1)}"
        return f"similar to a caption ({scores['sts']:.2f}) and names {objects}{polite}"
    return None
