"""An iterator that works in a thread of its own, ahead of whoever consumes it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def lookahead(items: Iterator[T], size: int) -> Iterator[Iterator[T]]:
    """Run an iterator in a thread, at most `size` items ahead; its exception is raised at its place."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=size)
    stop = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put((kind, value), timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    def consumed() -> Iterator[T]:
        while True:
            kind, value = ready.get()
            if kind == "item":
                yield value
            elif kind == "end":
                return
            else:
                raise value

    thread = threading.Thread(target=work, name="lookahead", daemon=True)
    thread.start()
    try:
        yield consumed()
    finally:
        stop.set()
        thread.join()
