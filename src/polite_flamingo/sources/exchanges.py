"""An annotation is one question and its answer: dialogues are taken apart, and each part gets the task of its own.

LLaVA's files hold several short questions about an image in one record. The rewriter answers one at a time, and which
filters apply depends on what that one asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from polite_flamingo.records import Sample, Task

TERSE_WORDS = 12  # of an answer, above which a dialogue's part is not taken for a short answer
_DESCRIBE = re.compile(r"\b(?:describe|description|caption|summari[sz]e)\b", re.IGNORECASE)


def exchanges(sample: Sample) -> Iterator[Sample]:
    """Each question with its answer as a sample of its own, which shows all images seen by then.

    The first keeps the id, the others are ``ID#2``, ``ID#3`` …
    """
    shown: dict[int, None] = {}
    for number, (asked, answered) in enumerate(zip(sample.turns[::2], sample.turns[1::2], strict=True), 1):
        part = sample
        if len(sample.turns) > 2:
            shown.update(dict.fromkeys(asked.images))
            images = tuple(sample.images[index] for index in shown)
            turns = (replace(asked, images=tuple(range(len(images)))), answered)
            name = sample.id if number == 1 else f"{sample.id}#{number}"
            part = replace(sample, id=name, turns=turns, images=images)
        yield replace(part, task=_task(part)) if part.task is Task.DIALOGUE else part


def _task(part: Sample) -> Task:
    """What a dialogue's only exchange asks for."""
    if not part.images:
        return Task.TEXT
    if _DESCRIBE.search(part.instruction):
        return Task.CAPTION
    terse = len(part.response.split()) <= TERSE_WORDS
    return Task.VQA if terse or part.instruction.rstrip().endswith("?") else Task.DIALOGUE
