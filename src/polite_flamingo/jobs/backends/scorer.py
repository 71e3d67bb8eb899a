"""A scorer as a backend of the engine: what it is asked and what it answers are JSON.

So a scoring job has what a rewriting job has: a journal that survives any interruption, content-hash keys, a cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from polite_flamingo.jobs.backends.base import ERROR, Request
from polite_flamingo.records import Generated
from polite_flamingo.scorers.base import Asked, Scorer, finite


def as_request(key: str, asked: Asked) -> Request:
    """The question about record `key`."""
    return Request(key=key, draft=json.dumps(asked.texts, ensure_ascii=False), images=asked.images)


class ScorerBackend:
    """Answers with scores; one that is not finite is an error of its record, never a score.

    Args:
        load: Loads the model, when it is first asked.
        identity: Content hash of the model and of the settings its scores depend on.
    """

    batch_size = 64  # of which the engine makes a call of a few; how the model is batched is the scorer's own

    def __init__(self, load: Callable[[], Scorer], identity: str) -> None:
        self._load = load
        self._scorer: Scorer | None = None
        self.identity = identity

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """The score of each request as JSON.

        Raises:
            ImageError: an image cannot be used.
            ModelError: the model cannot be used, or a single text does not fit into memory.
        """
        if self._scorer is None:
            self._scorer = self._load()
        values = self._scorer.answer([Asked(tuple(json.loads(r.draft)), r.images) for r in requests])
        return [
            Generated(json.dumps(value), "stop", 0)
            if finite(value)
            else Generated("", f"{ERROR}the score is not a finite number: {value}", 0)
            for value in values
        ]

    def close(self) -> None:
        """Free the model."""
        self._scorer = None
