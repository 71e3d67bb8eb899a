"""What is asked of the engine, and the ticket that its text comes back on, piece by piece or whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from polite_flamingo.errors import PoliteFlamingoError
from polite_flamingo.model.settings import GenerationSettings

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from polite_flamingo.batching.text import TextStream

GREEDY = GenerationSettings(num_beams=1, do_sample=False, no_repeat_ngram_size=0)


class QueueFullError(PoliteFlamingoError):
    """The queue is full.

    Args:
        waiting: Requests in the queue.
        retry_after: Seconds after which there may be room.
    """

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(
            "too many requests are waiting", value=waiting, next_step=f"ask again in {retry_after} seconds"
        )
        self.retry_after = retry_after


class EngineClosedError(PoliteFlamingoError):
    """The engine takes no requests any more.

    Args:
        taken: The request had been taken, and its text is not whole.
    """

    def __init__(self, taken: bool = False) -> None:
        if taken:
            super().__init__("the server stopped before the text was whole")
        else:
            super().__init__("the server is stopping", next_step="ask again when it is back")


class RequestTimeoutError(PoliteFlamingoError):
    """A request took longer than it may."""


class RequestCancelledError(PoliteFlamingoError):
    """Whoever asked wants no answer any more."""


class PromptTooLongError(PoliteFlamingoError):
    """A prompt leaves the model no room to answer.

    Args:
        tokens: Of the prompt.
        context: Tokens that the model reads.
    """

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            "the prompt fills the model's context",
            value=f"{tokens} tokens of {context}",
            next_step="send less text, or fewer turns",
        )


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A prompt to continue.

    Args:
        prompt: The text, with one ``<image>`` per image.
        images: Decoded images in order.
        settings: Decoding, without beams.
        stop: Texts before which the continuation ends.
        key: Decides, with the settings' seed, the random numbers.
        client: Whose request it is; clients take turns.
        min_tokens: Tokens before which the model does not end the continuation.
        timeout: Seconds it may take, waiting included; None: no bound.
    """

    prompt: str
    images: tuple[PILImage, ...] = ()
    settings: GenerationSettings = GREEDY
    stop: tuple[str, ...] = ()
    key: str = ""
    client: str = ""
    min_tokens: int = 0
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A continuation.

    Args:
        text: The text, stripped.
        finish_reason: "stop" (it ended, or a stop text came) or "length".
        prompt_tokens: Tokens of the prompt.
        tokens: Tokens generated, the end excluded.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    tokens: int


Outcome: TypeAlias = Completion | PoliteFlamingoError


@dataclass(eq=False)
class Ticket:
    """A request on its way. Iterating it gives pieces of the text as they come; `result` the whole.

    Args:
        request: What was asked.
        prompt_tokens: Tokens of the prompt.
        notify: Called, in the engine's thread, whenever there is something new.
        given_up: Called when it is cancelled.
    """

    request: EngineRequest
    prompt_tokens: int
    notify: Callable[[], None] | None = None
    given_up: Callable[[], None] | None = None
    submitted: float = field(default_factory=time.monotonic)
    first_token: float | None = None  # when it came, of the same clock
    cancelled: bool = False
    outcome: Outcome | None = None  # once it is whole, or has failed
    _pieces: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def deadline(self) -> float | None:
        """When it has taken too long."""
        return None if self.request.timeout is None else self.submitted + self.request.timeout

    @property
    def fault(self) -> PoliteFlamingoError | None:
        """Why the request is not to go on: it was given up, or has taken too long."""
        if self.cancelled:
            return RequestCancelledError("whoever asked has left")
        if self.deadline is not None and time.monotonic() > self.deadline:
            late = f"more than {self.request.timeout:g} seconds"
            return RequestTimeoutError("the request took too long", value=late, next_step="ask for fewer tokens")
        return None

    @property
    def done(self) -> bool:
        """True once the text is whole, or the request failed."""
        return self.outcome is not None

    def __iter__(self) -> Iterator[str]:
        """Pieces of the text as they come; together they are the text of `result`.

        Raises:
            PoliteFlamingoError: the request failed.
        """
        taken = 0
        while True:
            with self._changed:
                self._changed.wait_for(partial(self._has_news, taken))
            pieces = self.pieces(taken)
            taken += len(pieces)
            yield from pieces
            if not pieces:
                self.result()
                return

    def _has_news(self, taken: int) -> bool:
        return self.outcome is not None or len(self._pieces) > taken

    def pieces(self, start: int = 0) -> list[str]:
        """The pieces so far, from number `start` on; never waits."""
        return self._pieces[start:]

    def result(self, timeout: float | None = None) -> Completion:
        """Wait for the whole text.

        Args:
            timeout: Seconds to wait; None: until it is there.

        Raises:
            PoliteFlamingoError: the request failed (`RequestTimeoutError`, `RequestCancelledError`,
                `EngineClosedError`, or the model's error).
            TimeoutError: it is not there yet.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.outcome is not None, timeout):
                raise TimeoutError("the text is not whole yet")
        if isinstance(self.outcome, Completion):
            return self.outcome
        assert self.outcome is not None
        raise self.outcome

    def cancel(self) -> None:
        """Give the request up; its slot is free after the step that runs."""
        self.cancelled = True
        if self.given_up is not None:
            self.given_up()

    def add(self, piece: str) -> None:
        """Of the engine: a piece of text came; `tell` or `finish` follows."""
        if piece:
            with self._changed:
                self._pieces.append(piece)
                self._changed.notify_all()

    def complete(self, stream: TextStream, tokens: Sequence[int], ends: Collection[int]) -> None:
        """Of the engine: no more tokens come; `ends` are those that end a text."""
        ended = bool(tokens) and tokens[-1] in ends
        kept = tokens[:-1] if ended else tokens
        text, rest = stream.close(kept)
        self.add(rest)
        reason = "stop" if ended or stream.stopped else "length"
        self.finish(Completion(text, reason, self.prompt_tokens, len(kept)))

    def finish(self, outcome: Outcome) -> None:
        """Of the engine: the text is whole, or the request failed; only the first outcome counts."""
        with self._changed:
            if self.outcome is not None:
                return
            self.outcome = outcome
            self._changed.notify_all()
        self.tell()

    def tell(self) -> None:
        """Of the engine: there is news."""
        if self.notify is not None:
            self.notify()
