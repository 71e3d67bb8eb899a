"""The process that owns a Flamingo's weights and runs its engine for a server (`serving.engine_process`).

``python -m polite_flamingo.serving.engine_main FD``: started by the server alone, with its end of a pair of sockets. It
ends when the server says so or is gone; SIGTERM is for the server, which lets running requests end.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from polite_flamingo.batching.engine import Engine
from polite_flamingo.batching.models import FlamingoModel
from polite_flamingo.batching.tickets import EngineClosedError, Outcome, Ticket
from polite_flamingo.errors import PoliteFlamingoError
from polite_flamingo.serving.engine_process import Beginning, Cancelled, Closing, News, NumberedRequest
from polite_flamingo.talk.models import load_model

UNBOUNDED = sys.maxsize  # the server counts who waits


class EngineRunner:
    """An engine and the server that asks it.

    Args:
        model: The engine's.
        slots: Most requests at a time.
        connection: To the server.
    """

    def __init__(self, model: FlamingoModel, slots: int, connection: Connection) -> None:
        self._connection = connection
        self._tickets: dict[int, Ticket] = {}
        self._told: dict[int, int] = {}  # pieces of their texts
        self._due: list[int] = []  # of the engine's thread alone
        self._taking = threading.Lock()
        self._closing = False
        self._engine = Engine(model, slots=slots, queue=UNBOUNDED, after_turn=self._tell)

    def run(self) -> None:
        """Do what the server asks until it says that it is over.

        Raises:
            EOFError: the server is gone.
        """
        while not isinstance(message := self._connection.recv(), Closing):
            if isinstance(message, NumberedRequest):
                self._take(message)
            elif isinstance(message, Cancelled) and (ticket := self._tickets.get(message.number)) is not None:
                ticket.cancel()
        self._closing = True
        self._engine.close(message.finish, message.timeout)

    def _take(self, asked: NumberedRequest) -> None:
        with self._taking:
            notify = partial(self._due.append, asked.number)
            try:
                self._tickets[asked.number] = self._engine.take(asked.prepared, notify)
            except EngineClosedError:
                os._exit(1)  # it has died; the server tells all who asked
            self._told[asked.number] = 0

    def _tell(self) -> None:
        """One message of all that the engine's turn has brought."""
        if self._due:
            with self._taking:
                news = [self._new(number) for number in dict.fromkeys(self._due) if number in self._tickets]
                self._due.clear()
            with suppress(OSError):  # the server is gone: `run` ends
                self._connection.send(News(news, self._engine.state))
        if not (self._engine.alive or self._closing):
            os._exit(1)  # the engine has died, and all who asked it know

    def _new(self, number: int) -> tuple[int, list[str], Outcome | None]:
        ticket = self._tickets[number]
        pieces = ticket.pieces(self._told[number])
        self._told[number] += len(pieces)
        if ticket.outcome is not None:
            del self._tickets[number], self._told[number]
        return number, pieces, ticket.outcome


def main(descriptor: int) -> int:
    """Load the model that the server names, and serve it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    connection = Connection(descriptor)
    try:
        begin: Beginning = connection.recv()
        bundle: Any = load_model(begin.place, device=begin.device, dtype=begin.dtype)
        model = FlamingoModel(bundle)
    except PoliteFlamingoError as error:
        connection.send(error)
        return 2
    try:
        connection.send(model.reader)
        EngineRunner(model, begin.slots, connection).run()
    except (EOFError, OSError):  # the server is gone: nobody waits for what runs
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
