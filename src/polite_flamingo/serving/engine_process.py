"""A Flamingo's engine in a process of its own: there Python's lock is the engine's alone, here the event loop's.

The server prepares prompts and images, counts who waits and hands out the text; the other process
(`serving.engine_main`) owns the weights. They talk over a pair of sockets, so that each knows at once when the other
dies: the server fails what it had asked for, the engine ends.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, TypeAlias

from polite_flamingo.batching.alone import AnyEngine
from polite_flamingo.batching.engine import QUEUE, SLOTS, EngineState
from polite_flamingo.batching.models import FlamingoReader, PreparedRequest, prepared
from polite_flamingo.batching.tickets import EngineClosedError, EngineRequest, Outcome, QueueFullError, Ticket
from polite_flamingo.batching.turns import PATIENCE, Pace
from polite_flamingo.errors import ModelError, PoliteFlamingoError
from polite_flamingo.talk.models import ModelPlace

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

LOG = logging.getLogger(__name__)
MODULE = "polite_flamingo.serving.engine_main"


@dataclass(frozen=True, slots=True)
class Beginning:
    """What an engine's process is told first; it answers with a `FlamingoReader`, or an error."""

    place: ModelPlace
    device: str
    dtype: str | None
    slots: int


@dataclass(frozen=True, slots=True)
class NumberedRequest:
    """A request and its number."""

    number: int
    prepared: PreparedRequest


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Nobody wants a request any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Closing:
    """No more requests come (`Engine.close`)."""

    finish: bool
    timeout: float | None


@dataclass(frozen=True, slots=True)
class News:
    """What came since the last news: of each request its pieces of text, and how it ended if it did."""

    of: list[tuple[int, list[str], Outcome | None]]
    state: EngineState


class EngineProcess:
    """An engine in another process, used as an `Engine` once `wait` has returned.

    Args:
        place: The Flamingo.
        device: Where it goes.
        dtype: Number type of its weights.
        slots: Most requests at a time.
        queue: Most requests waiting.
    """

    reader: FlamingoReader

    def __init__(
        self,
        place: ModelPlace,
        *,
        device: str = "auto",
        dtype: str | None = None,
        slots: int = SLOTS,
        queue: int = QUEUE,
    ) -> None:
        self._slots, self._queue = slots, queue
        self._tickets: dict[int, Ticket] = {}
        self._number = 0
        self._pace = Pace()
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._closing = self._ended = False
        self.state = EngineState(0, 0, slots, 0, 0, 0, 0)  # as it was told last
        ours, theirs = socket.socketpair()
        with theirs:  # a session of its own: Ctrl-C is the server's
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        self._send(Beginning(place, device, dtype, slots))

    def wait(self) -> None:
        """Until the model is loaded.

        Raises:
            ModelError: the process has ended.
            PoliteFlamingoError: the model cannot be loaded.
        """
        try:
            first = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ModelError(
                "the engine's process ended while it loaded the model",
                value=f"status {self._process.wait()}",
                next_step="read what it printed above; too little memory leaves no word",
            ) from error
        if isinstance(first, PoliteFlamingoError):
            raise first
        self.reader = first
        threading.Thread(target=self._listen, name="engine's news", daemon=True).start()

    def submit(self, request: EngineRequest, notify: Callable[[], None] | None = None) -> Ticket:
        """Queue a request, as `Engine.submit`.

        Raises:
            QueueFullError: the queue is full.
            EngineClosedError: no more requests are taken.
            PromptTooLongError: no room is left to answer.
            DataError: the prompt does not show its images, or asks for beams.
        """
        self._admit()  # before the work of preparing it
        ready = prepared(self.reader, request)
        with self._lock:
            self._admit()
            self._number += 1
            number = self._number
            give_up = partial(self._send, Cancelled(number))
            ticket = self._tickets[number] = Ticket(ready.request, len(ready.ids), notify, give_up)
        self._send(NumberedRequest(number, ready))
        return ticket

    def count(self, prompt: str, images: Sequence[PILImage]) -> int:
        """Tokens of a prompt."""
        return len(self.reader.encode(prompt, images)[0])

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its continuation."""
        return self.reader.context

    @property
    def device(self) -> str:
        """Where the model is."""
        return self.reader.device

    @property
    def alive(self) -> bool:
        """True while it takes requests."""
        return not self._closing and not self._ended

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Take no more requests and end, as `Engine.close`; a process that does not end is killed."""
        self._closing = True
        self._send(Closing(finish, timeout))
        patience = None if finish and timeout is None else (timeout or 0) + PATIENCE
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _admit(self) -> None:
        if not self.alive:
            raise EngineClosedError
        waiting = len(self._tickets) - self._slots
        if waiting >= self._queue:
            raise QueueFullError(waiting, self._pace.wait(waiting, self._slots))

    def _send(self, message: Any) -> None:
        with suppress(OSError), self._sending:  # where it has ended, `_listen` says so
            self._connection.send(message)

    def _listen(self) -> None:
        try:
            with suppress(EOFError, OSError):
                while True:
                    self._hear(self._connection.recv())
        finally:
            with self._lock:
                self._ended = True
                left = list(self._tickets.values())
                self._tickets.clear()
            for ticket in left:
                ticket.finish(EngineClosedError(taken=True))
            if not self._closing:
                self._process.kill()
                LOG.error("the engine's process ended with status %s", self._process.wait())

    def _hear(self, news: News) -> None:
        now = time.monotonic()
        self.state = news.state
        for number, pieces, outcome in news.of:
            ticket = self._tickets[number]
            if pieces:
                ticket.first_token = ticket.first_token or now
            for piece in pieces:
                ticket.add(piece)
            if outcome is None:
                ticket.tell()
                continue
            self._pace.ended(now - ticket.submitted)
            with self._lock:
                del self._tickets[number]
            ticket.finish(outcome)


ServedEngine: TypeAlias = AnyEngine | EngineProcess
