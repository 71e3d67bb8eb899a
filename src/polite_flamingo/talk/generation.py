"""A loaded model that answers, by continuous batching where it can be (`batching.engine`, `batching.alone`)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from polite_flamingo.batching.alone import AnyEngine, chat_engine
from polite_flamingo.batching.engine import Engine
from polite_flamingo.batching.models import FlamingoModel
from polite_flamingo.batching.tickets import Completion, EngineRequest, PromptTooLongError, Ticket
from polite_flamingo.errors import ModelError

if TYPE_CHECKING:
    from polite_flamingo.jobs.backends.chat_model import ChatModel
    from polite_flamingo.jobs.backends.text import TextQuestion
    from polite_flamingo.model.bundle import FlamingoBundle

SLOTS = 16


class Speaker:
    """A loaded model; threads may share it.

    Args:
        model: A Flamingo or a chat model.
        slots: Most requests decoded together.
    """

    def __init__(self, model: FlamingoBundle | ChatModel, slots: int = SLOTS) -> None:
        self.model: Any = model
        self.slots = slots
        self._starting = threading.Lock()
        self._engine: AnyEngine | None = None

    @property
    def is_flamingo(self) -> bool:
        """Whether it continues prompts of the paper; else it is a chat model with a template of its own."""
        return hasattr(self.model, "media_token_id")

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self.is_flamingo or self.model.sees

    @property
    def device(self) -> str:
        """Where it runs."""
        return str(self.model.device if self.is_flamingo else self.model.model.device)

    @property
    def engine(self) -> AnyEngine:
        """What its requests go to; it starts when it is first asked for, and is the model's only user from then on."""
        with self._starting:
            if self._engine is None:
                self._engine = self._start()
            return self._engine

    def _start(self) -> AnyEngine:
        if self.is_flamingo:
            return Engine(FlamingoModel(self.model), slots=self.slots)
        return chat_engine(self.model, slots=self.slots)

    def prompt(self, question: TextQuestion) -> str:
        """The text that the model continues; special tokens within the question are taken apart.

        Raises:
            ModelError: there are images, and the model reads text alone.
        """
        from polite_flamingo.model.tokens import plain

        if self.is_flamingo:
            return question.prompt(partial(plain, self.model.tokenizer))
        if question.images and not self.sees:
            raise ModelError(
                "this model reads text alone",
                value=f"{len(question.images)} images",
                next_step="ask without images, or name a model that sees",
            )
        return str(self.model.prompt(question))

    def submit(self, request: EngineRequest) -> Ticket:
        """Queue a request; its ticket gives the text piece by piece, or whole.

        Raises:
            PromptTooLongError: no room is left to answer.
        """
        return self.engine.submit(request)

    def answer(self, requests: Sequence[EngineRequest]) -> list[Completion | PromptTooLongError]:
        """Continue every prompt; results in order, an error where a prompt leaves no room."""
        results: list[Completion | PromptTooLongError] = []
        waiting: deque[Ticket | PromptTooLongError] = deque()
        try:
            for request in requests:
                if len(waiting) >= 2 * self.slots:
                    results.append(_result(waiting.popleft()))
                try:
                    waiting.append(self.submit(request))
                except PromptTooLongError as error:
                    waiting.append(error)
            while waiting:
                results.append(_result(waiting.popleft()))
        finally:
            for left in waiting:  # whoever asked was interrupted
                if isinstance(left, Ticket):
                    left.cancel()
        return results

    def close(self) -> None:
        """Let go of the model; what is still asked fails."""
        if self._engine is not None:
            self._engine.close(finish=False)


def _result(waiting: Ticket | PromptTooLongError) -> Completion | PromptTooLongError:
    return waiting if isinstance(waiting, PromptTooLongError) else waiting.result()
