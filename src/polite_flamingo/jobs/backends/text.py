"""What backends that generate text are asked, and what they answer (`records.Generated`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from polite_flamingo.errors import ModelError
from polite_flamingo.jobs.outcomes import AnswerFormat
from polite_flamingo.jobs.questions import Backend, Question
from polite_flamingo.records import Generated

Message: TypeAlias = Mapping[str, Any]  # role, and content: a text, or parts of which some are images


class TextQuestion(Question, Protocol):
    """A text to generate, in the forms that the kinds of models take."""

    @property
    def attempt(self) -> int:
        """0 for the first try; above 0: other random numbers, and sampling even where the settings are greedy."""

    def messages(self) -> Sequence[Message]:
        """Chat messages, for a chat model; a last message of the assistant is to be continued."""

    def prompt(self, plain: Callable[[str], str]) -> str:
        """One text with an ``<image>`` per image, for the Flamingo; `plain` takes special tokens within data apart.

        Raises:
            ModelError: there is no such form.
        """


TextBackend: TypeAlias = Backend[TextQuestion, Generated]
TEXTS = AnswerFormat(Generated, lambda generated: {"tokens": generated.tokens}, rates=("tokens",))


@dataclass(frozen=True, slots=True)
class ChatQuestion:
    """A question in chat messages of text alone.

    Args:
        key: Names it; decides, with the run's seed, the random numbers.
        chat: The messages.
        attempt: 0 for the first try.
    """

    key: str
    chat: tuple[Message, ...]
    attempt: int = 0
    images: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Characters of the messages."""
        return sum(len(str(message["content"])) for message in self.chat)

    def content(self) -> Any:
        """The messages."""
        return [dict(message) for message in self.chat]

    def messages(self) -> Sequence[Message]:
        """The messages."""
        return self.chat

    def prompt(self, plain: Callable[[str], str]) -> str:
        """Refuse: the Flamingo was never taught chat messages."""
        raise ModelError("the Flamingo rewriter takes no chat messages", where=self.key, next_step="use hf: or openai:")


def as_it_is(backend: TextBackend) -> TextBackend:
    """The use of a backend whose answers are taken as they come."""
    return backend
