"""Tickets of the engine awaited in an event loop: what came, and that the client left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from polite_flamingo.batching.engine import Engine
from polite_flamingo.batching.tickets import Completion, EngineRequest, RequestCancelledError, Ticket


class Following:
    """The tickets of one request; cancelled when it is left, however it is left."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    async def submit(self, engine: Engine, requests: Sequence[EngineRequest]) -> None:
        """Ask; prompts and images are prepared in a thread.

        Raises:
            PoliteFlamingoError: one of them is not taken; none is, then.
        """
        try:
            for request in requests:
                self.tickets.append(await run_in_threadpool(engine.submit, request, self._notify))
        except BaseException:
            self.cancel()
            raise

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
        for ticket in self.tickets:
            if not ticket.done:
                ticket.cancel()

    async def _whole(self) -> None:
        async for _ in self.pieces():
            pass

    def _notify(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._changed.set)


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
