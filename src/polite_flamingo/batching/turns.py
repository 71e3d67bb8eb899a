"""The queue of an engine: clients take turns, each client's requests in the order they were made; how long it is."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
PATIENCE = 60  # most seconds a client is told to wait
WEIGHT = 0.1  # of the last request in the average of how long they take


class FairQueue(Generic[T]):
    """First come, first served per client; the clients in turn. Not locked."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    def __iter__(self) -> Iterator[T]:
        return (item for items in self._clients.values() for item in items)

    def put(self, client: str, item: T) -> None:
        """Append to a client's requests."""
        self._clients.setdefault(client, deque()).append(item)

    def put_back(self, client: str, item: T) -> None:
        """Put before everything else."""
        self._clients.setdefault(client, deque()).appendleft(item)
        self._clients.move_to_end(client, last=False)

    def first(self) -> T | None:
        """What `take` would take."""
        return next((items[0] for items in self._clients.values()), None)

    def take(self) -> T:
        """The next request; its client's next one comes after those of all others."""
        client, items = next(iter(self._clients.items()))
        item = items.popleft()
        del self._clients[client]
        if items:
            self._clients[client] = items
        return item

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out what is no longer wanted."""
        dropped = [item for item in self if unwanted(item)]
        if dropped:
            out = {id(item) for item in dropped}
            for client, items in list(self._clients.items()):
                left = deque(item for item in items if id(item) not in out)
                if left:
                    self._clients[client] = left
                else:
                    del self._clients[client]
        return dropped


class Pace:
    """How long requests took of late, and so how long it is until there is room for one more."""

    def __init__(self) -> None:
        self._took = 1.0  # seconds

    def ended(self, seconds: float) -> None:
        """A request took so long."""
        self._took += WEIGHT * (seconds - self._took)

    def wait(self, waiting: int, slots: int) -> int:
        """Seconds that a client is told to wait behind so many others."""
        return min(PATIENCE, max(1, math.ceil(math.ceil(waiting / slots) * self._took)))
