"""Tickets of the engine awaited in an event loop: what came, and that the client left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from polite_flamingo.batching.tickets import Completion, EngineRequest, RequestCancelledError, Ticket
from polite_flamingo.serving.engine_process import ServedEngine


class Bell:
    """Wakes the running event loop once for all that a step of an engine has brought."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._due: list[asyncio.Event] = []
        self._lock = threading.Lock()

    def ring(self, event: asyncio.Event) -> None:
        """Set an event of the loop, from any thread."""
        with self._lock:
            self._due.append(event)
            first = len(self._due) == 1
        if first:
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        with self._lock:
            due, self._due = self._due, []
        for event in due:
            event.set()


class Following:
    """The tickets of one request; cancelled when it is left, however it is left.

    Args:
        bell: Of all requests of this loop.
    """

    def __init__(self, bell: Bell) -> None:
        self.tickets: list[Ticket] = []
        self._bell = bell
        self._changed = asyncio.Event()
        self._left = False

    def submit(self, engine: ServedEngine, requests: Sequence[EngineRequest]) -> None:
        """Ask, in a thread: prompts and images are prepared there.

        Raises:
            PoliteFlamingoError: one of them is not taken; none is, then.
        """
        try:
            for request in requests:
                self.tickets.append(engine.submit(request, self._notify))
        except BaseException:
            self.cancel()
            raise
        if self._left:
            self.cancel()

    async def pieces(self) -> AsyncIterator[tuple[int, str]]:
        """Number of the ticket and the text that came since, until all are whole.

        Raises:
            PoliteFlamingoError: one of them failed.
        """
        taken = [0] * len(self.tickets)
        while True:
            self._changed.clear()
            done = all(ticket.done for ticket in self.tickets)
            for number, ticket in enumerate(self.tickets):
                new = ticket.pieces(taken[number])
                taken[number] += len(new)
                if new:
                    yield number, "".join(new)
                if ticket.done:
                    ticket.result(0)  # raises what failed
            if done:
                return
            await self._changed.wait()

    async def results(self, request: Request) -> list[Completion]:
        """The whole texts.

        Raises:
            RequestCancelledError: the client left.
            PoliteFlamingoError: one of them failed.
        """
        await until_left(request, self._whole())
        return [ticket.result(0) for ticket in self.tickets]

    def cancel(self) -> None:
        """Give up what is not whole."""
        self._left = True
        for ticket in self.tickets:
            if not ticket.done:
                ticket.cancel()

    async def _whole(self) -> None:
        async for _ in self.pieces():
            pass

    def _notify(self) -> None:
        self._bell.ring(self._changed)


async def until_left(request: Request, work: Any) -> Any:
    """What a coroutine returns, unless the client leaves first.

    Raises:
        RequestCancelledError: the client left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RequestCancelledError("the client left")
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
