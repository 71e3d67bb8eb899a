"""Executors: whoever answers calls. The one here is a backend in this process; `ray_pool` has one on a cluster."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol

from polite_flamingo.errors import ImageError, PoliteFlamingoError
from polite_flamingo.jobs.questions import A, A_co, Backend, Failure, Q, calls_at_once
from polite_flamingo.jobs.units import Unit

LOG = logging.getLogger(__name__)

BATCHES_PER_CALL = 4  # a call to the backend is this many of its batches, so that rows that end make room for others


@dataclass(frozen=True, slots=True)
class Call(Generic[Q]):
    """One call to a backend: units of one shard. It is finished as a whole or not at all."""

    shard: int
    units: tuple[Unit[Q], ...]

    @property
    def questions(self) -> list[Q]:
        """What to answer."""
        return [unit.question for unit in self.units]


class Executor(Protocol[Q, A_co]):
    """Whoever answers calls."""

    @property
    def identity(self) -> str:
        """The backend's identity."""

    @property
    def call_size(self) -> int:
        """Questions per call."""

    def map(self, calls: Iterable[Call[Q]], /) -> Iterator[tuple[Call[Q], Sequence[A_co | Failure]]]:
        """Answer calls, taken from the iterator only as there is room; they may come back in another order."""

    def close(self) -> None:
        """Free what is held."""


class LocalExecutor(Generic[Q, A]):
    """A backend in this process: one call at a time, so a kill costs one, or as many as the backend keeps itself.

    Args:
        backend: The model.
        call_size: Questions per call; None: a few of the backend's batches.
    """

    def __init__(self, backend: Backend[Q, A], call_size: int | None = None) -> None:
        self._backend = backend
        self._at_once = calls_at_once(backend)
        self.identity = backend.identity
        self.call_size = call_size or BATCHES_PER_CALL * backend.batch_size

    def map(self, calls: Iterable[Call[Q]]) -> Iterator[tuple[Call[Q], Sequence[A | Failure]]]:
        """Answer one call after the other; where some run at once, the first of them is waited for."""
        if self._at_once == 1:
            for call in calls:
                yield call, answer_safely(self._backend, call.questions)
            return
        pool = ThreadPoolExecutor(self._at_once, "calls")
        running: deque[tuple[Call[Q], Future[Sequence[A | Failure]]]] = deque()
        try:
            for call in calls:
                running.append((call, pool.submit(answer_safely, self._backend, call.questions)))
                if len(running) == self._at_once:
                    first, answers = running.popleft()
                    yield first, answers.result()
            for call, answers in running:
                yield call, answers.result()
        finally:
            pool.shutdown(wait=False)  # what still runs ends when the backend is closed

    def close(self) -> None:
        """Close the backend."""
        self._backend.close()


def answer_safely(backend: Backend[Q, A], questions: Sequence[Q]) -> Sequence[A | Failure]:
    """Answer questions; where a call breaks, halves of it are tried, so that one bad record costs itself only.

    Raises:
        PoliteFlamingoError: the backend as a whole is unusable; a single bad image is no such case.
    """
    try:
        return backend.answer(questions)
    except Exception as error:
        if isinstance(error, PoliteFlamingoError) and not isinstance(error, ImageError):
            raise
        if len(questions) == 1:
            LOG.warning("%s cannot be answered: %s: %s", questions[0].key, type(error).__name__, error)
            return [Failure(f"error: {type(error).__name__}: {error}"[:500])]
        LOG.warning("a call of %d records broke and is halved: %s: %s", len(questions), type(error).__name__, error)
    middle = len(questions) // 2
    return [*answer_safely(backend, questions[:middle]), *answer_safely(backend, questions[middle:])]
