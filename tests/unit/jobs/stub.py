"""A backend without a model: answers follow from the request alone, faults from what the draft says."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.jobs.backends.base import Request
from polite_flamingo.records import Generated


class Stub:
    """Answers drafts; ``once:`` fails the first try, ``never:`` every try, each with the fault named after it.

    Args:
        log: File that gets one line ``pid key`` per generated record; None: none.
        delay: Seconds per call.
        identity: What a model's hash would be.
        batch_size: Requests per batch.
    """

    def __init__(
        self, log: Path | None = None, delay: float = 0.0, identity: str = "stub", batch_size: int = 4
    ) -> None:
        self.log, self.delay, self.identity, self.batch_size = log, delay, identity, batch_size
        self.asked: list[tuple[str, int]] = []
        self.calls: list[int] = []

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        self.calls.append(len(requests))
        answers = []
        for request in requests:
            self.asked.append((request.key, request.attempt))
            if request.draft == "crash":
                raise RuntimeError("out of luck")
            answers.append(answer(request))
        if self.log is not None:
            with open(self.log, "ab", buffering=0) as file:
                os.write(file.fileno(), "".join(f"{os.getpid()} {r.key}\n" for r in requests).encode())
        time.sleep(self.delay)
        return answers

    def close(self) -> None:
        pass


FAULTS = {
    "unchanged": lambda request: Generated(request.draft, "stop", 3),
    "unfinished": lambda request: Generated("It goes on and", "length", 3),
    "empty": lambda request: Generated("", "stop", 0),
    "leaked boxes": lambda request: Generated("A star at [0.1, 0.2, 0.3, 0.4].", "stop", 3),
    "repetitive": lambda request: Generated("the red star is here " * 6, "stop", 3),
    "error": lambda request: Generated("", "error: refused", 0),
}


def answer(request: Request) -> Generated:
    kind, _, fault = request.draft.partition(":")
    if kind == "never" or (kind == "once" and request.attempt == 0):
        return FAULTS[fault](request)
    digest = hashlib.sha256(f"{request.key}:{request.attempt}".encode()).hexdigest()[:8]
    return Generated(f"Certainly, it is {request.draft}. {digest}", "stop", 5)


def requests(count: int, draft: str = "red") -> list[Request]:
    return [Request(f"t/{i}", "What color is it? " * (i % 5 + 1), draft) for i in range(count)]
