"""What runs on a node of a cluster: the backend, with an image folder of its own where paths are not shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic

from polite_flamingo.jobs.executor import answer_safely
from polite_flamingo.jobs.questions import A, Backend, Failure, Q
from polite_flamingo.jobs.shared import ImageCache, Shared


class Worker(Generic[Q, A]):
    """The model on a node; becomes a Ray actor.

    Args:
        factory: Makes the backend; paths in it must hold on every node.
        shared: Where models and images come from on a cluster without common paths; the factory then gets this and
            the worker's image folder.
    """

    def __init__(self, factory: Callable[..., Backend[Q, A]], shared: Shared | None = None) -> None:
        self._factory = factory
        self._images = None if shared is None else ImageCache(shared)
        self._backend: Backend[Q, A] | None = None

    def ready(self) -> str:
        """Make the backend and return its identity."""
        self._backend = (
            self._factory() if self._images is None else self._factory(self._images.shared, self._images.root)
        )
        return self._backend.identity

    def answer(self, questions: Sequence[Q], images: Mapping[str, str]) -> Sequence[A | Failure]:
        """Answer one call; `images` names its images on shared storage, if there is one."""
        assert self._backend is not None  # `ready` comes first
        if self._images is not None:
            self._images.fetch(images)
        return answer_safely(self._backend, questions)

    def close(self) -> None:
        """Free what is held and remove the worker's images."""
        if self._backend is not None:
            self._backend.close()
        if self._images is not None:
            self._images.close()
