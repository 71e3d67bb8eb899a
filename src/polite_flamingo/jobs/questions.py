"""What a job is made of: questions, and the backends that answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Q = TypeVar("Q", bound="Question")
A = TypeVar("A")
Q_contra = TypeVar("Q_contra", bound="Question", contravariant=True)
A_co = TypeVar("A_co", covariant=True)


class Question(Protocol):
    """One thing to answer; a frozen dataclass that can be sent to a worker."""

    @property
    def key(self) -> str:
        """Id of the record; unique in its job."""

    @property
    def images(self) -> tuple[str, ...]:
        """Paths of the images the answer depends on, below the image root."""

    @property
    def size(self) -> int:
        """What the cost of the answer grows with (characters); calls hold questions of near-equal size."""

    def content(self) -> Any:
        """Everything the answer depends on besides key, images and backend, as JSON can hold it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands for the answer of a question that cannot be answered."""

    reason: str


@dataclass(frozen=True, slots=True)
class Input(Generic[Q]):
    """Questions in a fixed order that can be read from the middle, so that a resumed run need not begin at the start.

    Args:
        version: Content hash of what the questions are read from; a place is good for this version alone.
        read: Streams the questions from a place on, each with the place behind it; an empty place is the beginning.
    """

    version: str
    read: Callable[[Sequence[int]], Iterator[tuple[Q, Sequence[int]]]]

    @classmethod
    def of(cls, questions: Iterable[Q]) -> Input[Q]:
        """Questions that can only be read from the beginning, once."""
        return cls("", lambda _: ((question, ()) for question in questions))


class Backend(Protocol[Q_contra, A_co]):
    """A model behind a queue of questions."""

    @property
    def identity(self) -> str:
        """Content hash of weights and settings: part of the key of every unit of work."""

    @property
    def batch_size(self) -> int:
        """Questions per batch that suit this backend."""

    def answer(self, questions: Sequence[Q_contra], /) -> Sequence[A_co | Failure]:
        """Answer every question, in order; an answer depends on its own question only.

        Raises:
            ModelError: nothing can be answered (weights unusable, endpoint refuses or stays silent).
        """

    def close(self) -> None:
        """Free what is held; a closed backend is not used again."""


def calls_at_once(backend: Backend[Any, Any]) -> int:
    """Calls a backend wants at the same time, from threads: its ``calls_at_once``; 1 where it says nothing of it.

    More than one is for a backend that keeps every answer itself, so that a killed run asks for none of them again.
    """
    return int(getattr(backend, "calls_at_once", 1))
