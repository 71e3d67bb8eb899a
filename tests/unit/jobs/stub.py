"""Backends without a model: answers follow from the question alone, faults from what the draft says."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.jobs.questions import Failure
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion as Question


class Stub:
    """Answers drafts; ``once:`` fails the first try, ``never:`` every try, each with the fault named after it.

    Args:
        log: File that gets one line ``pid key`` per generated record; None: none.
        delay: Seconds per call.
        identity: What a model's hash would be.
        batch_size: Questions per batch.
    """

    def __init__(
        self, log: Path | None = None, delay: float = 0.0, identity: str = "stub", batch_size: int = 4
    ) -> None:
        self.log, self.delay, self.identity, self.batch_size = log, delay, identity, batch_size
        self.tries: list[tuple[str, int]] = []
        self.calls: list[int] = []

    def answer(self, questions: Sequence[Question]) -> list[Generated | Failure]:
        self.calls.append(len(questions))
        answers = []
        for question in questions:
            self.tries.append((question.key, question.attempt))
            if getattr(question, "draft", "") == "crash":
                raise RuntimeError("out of luck")
            answers.append(answer(question))
        if self.log is not None:
            with open(self.log, "ab", buffering=0) as file:
                os.write(file.fileno(), "".join(f"{os.getpid()} {q.key}\n" for q in questions).encode())
        time.sleep(self.delay)
        return answers

    def close(self) -> None:
        pass


FAULTS = {
    "unchanged": lambda question: Generated(question.draft, "stop", 3),
    "unfinished": lambda question: Generated("It goes on and", "length", 3),
    "empty": lambda question: Generated("", "stop", 0),
    "leaked boxes": lambda question: Generated("A star at [0.1, 0.2, 0.3, 0.4].", "stop", 3),
    "repetitive": lambda question: Generated("the red star is here " * 6, "stop", 3),
    "error": lambda question: Failure("error: refused"),
}


def answer(question: Question) -> Generated | Failure:
    draft = getattr(question, "draft", "")
    kind, _, fault = draft.partition(":")
    if kind == "never" or (kind == "once" and question.attempt == 0):
        return FAULTS[fault](question)
    digest = hashlib.sha256(f"{question.key}:{question.attempt}".encode()).hexdigest()[:8]
    return Generated(f"Certainly, it is {draft}. {digest}", "stop", 5)


def questions(count: int, draft: str = "red") -> list[Question]:
    return [Question(f"t/{i}", "What color is it? " * (i % 5 + 1), draft) for i in range(count)]
