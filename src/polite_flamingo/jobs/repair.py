"""Repair before drop: an answer with a visible fault is generated again with another seed.

The faults are those the filters would drop the record for later (section 3.3, Figure 10) as far as they show without a
scorer: nothing changed, a decoder caught in a loop, no end, bounding boxes copied from the annotation. What still has
a fault after the last attempt keeps its raw answer, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from polite_flamingo.jobs.backends.base import Backend, Request, failed
from polite_flamingo.scorers.text import count_boxes, repeated_share
from polite_flamingo.settings import Settings, Share

if TYPE_CHECKING:
    from polite_flamingo.records import Generated

DONE, RAW, FAILED, BROKEN = "done", "raw", "failed", "broken"


class RepairPolicy(Settings):
    """When an answer is generated again, with another seed."""

    attempts: int = Field(
        2, ge=0, description="further tries per record; then the raw answer is kept with the reason; 0: none"
    )
    max_repeated_share: Share = Field(
        0.3, description="share of words in repeated 4-grams above which a text is repetitive"
    )
    max_boxes: int = Field(0, ge=0, description="bounding boxes above which a text leaks them")

    def fault(self, request: Request, generated: Generated) -> str | None:
        """Name of the first fault of an answer; None: it is fine."""
        text = generated.text.strip()
        if generated.finish_reason == "length":
            return "unfinished"
        if not text:
            return "empty"
        if text == request.draft.strip():
            return "unchanged"
        if count_boxes(text) > self.max_boxes:
            return "leaked boxes"
        if repeated_share(text) > self.max_repeated_share:
            return "repetitive"
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a unit.

    Args:
        index: Place in the input.
        key: The unit's content hash.
        id: Sample id.
        status: ``done``; ``raw``: repair gave up, the text is the raw answer; ``failed``: no answer; ``broken``: an
            image of the record cannot be used.
        text: The answer, the raw answer, or nothing.
        finish_reason: "stop" or "length" of the last try, or why there is no answer.
        tokens: Tokens generated, all tries together.
        attempts: Tries beyond the first.
        fault: What was wrong with the first try, where it was tried again.
    """

    index: int
    key: str
    id: str
    status: str
    text: str = ""
    finish_reason: str = ""
    tokens: int = 0
    attempts: int = 0
    fault: str = ""

    @property
    def answered(self) -> bool:
        """True where there is a text to go on with."""
        return self.status in (DONE, RAW)

    def to_row(self) -> dict[str, Any]:
        """Flatten for a shard."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Answer:
    """An outcome before it has a place: what a worker sends back."""

    status: str
    text: str
    finish_reason: str
    tokens: int = 0
    attempts: int = 0
    fault: str = ""


def answer_all(backend: Backend, requests: Sequence[Request], policy: RepairPolicy) -> list[Answer]:
    """Answer requests and repair what shows a fault; an answer depends on its own request alone."""
    first = backend.generate(requests)
    answers: list[Answer | None] = [None] * len(requests)
    tokens = [generated.tokens for generated in first]
    faults = [""] * len(requests)
    open_places: list[int] = []
    for place, (request, generated) in enumerate(zip(requests, first, strict=True)):
        if failed(generated):
            answers[place] = Answer(FAILED, "", generated.finish_reason, generated.tokens)
            continue
        fault = policy.fault(request, generated) if policy.attempts else None
        if fault is None:
            answers[place] = Answer(DONE, generated.text, generated.finish_reason, generated.tokens)
        else:
            faults[place] = fault
            open_places.append(place)
    finish = {place: first[place].finish_reason for place in open_places}
    for attempt in range(1, policy.attempts + 1):
        if not open_places:
            break
        again = [replace(requests[place], attempt=attempt) for place in open_places]
        still: list[int] = []
        for place, generated in zip(open_places, backend.generate(again), strict=True):
            tokens[place] += generated.tokens
            if failed(generated):  # the first try brought a text: an error now is one more try without success
                still.append(place)
                continue
            finish[place] = generated.finish_reason
            if policy.fault(requests[place], generated) is None:
                answers[place] = Answer(
                    DONE, generated.text, generated.finish_reason, tokens[place], attempt, faults[place]
                )
            else:
                still.append(place)
        open_places = still
    for place in open_places:
        answers[place] = Answer(
            RAW, requests[place].draft, finish[place], tokens[place], policy.attempts, faults[place]
        )
    return [answer for answer in answers if answer is not None]
