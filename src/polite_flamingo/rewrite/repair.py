"""Repair before drop: an answer with a visible fault is generated again with another seed.

The faults are those the filters would drop the record for later (section 4.2, Figure 10) as far as they show without a
scorer: nothing changed, a decoder caught in a loop, no end, bounding boxes copied from the annotation. What still has
a fault after the last attempt keeps its raw answer, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.jobs.outcomes import AnswerFormat
from polite_flamingo.jobs.questions import Backend, Failure, calls_at_once
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion
from polite_flamingo.scorers.text import count_boxes, repeated_share
from polite_flamingo.settings import Settings, Share


class RepairPolicy(Settings):
    """When an answer is generated again, with another seed."""

    attempts: int = Field(
        2, ge=0, description="further tries per record; then the raw answer is kept with the reason; 0: none"
    )
    max_repeated_share: Share = Field(
        0.3, description="share of words in repeated 4-grams above which a text is repetitive"
    )
    max_boxes: int = Field(0, ge=0, description="bounding boxes above which a text leaks them")

    def fault(self, question: RewriteQuestion, generated: Generated) -> str | None:
        """Name of the first fault of an answer; None: it is fine."""
        text = generated.text.strip()
        if generated.finish_reason == "length":
            return "unfinished"
        if not text:
            return "empty"
        if text == question.draft.strip():
            return "unchanged"
        if count_boxes(text) > self.max_boxes:
            return "leaked boxes"
        if repeated_share(text) > self.max_repeated_share:
            return "repetitive"
        return None


@dataclass(frozen=True, slots=True)
class RewriteAnswer:
    """A rewritten answer, or the raw one where repair gave up.

    Args:
        text: The answer.
        finish_reason: "stop" or "length" of the last try.
        tokens: Tokens generated, all tries together.
        attempts: Tries beyond the first.
        fault: What was wrong with the first try, where it was tried again.
        raw: True where the text is the raw answer.
    """

    text: str
    finish_reason: str
    tokens: int = 0
    attempts: int = 0
    fault: str = ""
    raw: bool = False


def _counts(answer: RewriteAnswer) -> dict[str, int]:
    repaired = answer.attempts > 0 and not answer.raw
    return {"tokens": answer.tokens, "repaired": int(repaired), "kept_raw": int(answer.raw)}


REWRITES = AnswerFormat(RewriteAnswer, _counts, rates=("tokens",))


class RepairingBackend:
    """A text backend whose answers are repaired; an answer depends on its own question alone.

    Args:
        backend: What generates.
        policy: When an answer is generated again.
    """

    def __init__(self, backend: Backend[RewriteQuestion, Generated], policy: RepairPolicy) -> None:
        self._backend = backend
        self._policy = policy
        self.calls_at_once = calls_at_once(backend)
        self.identity = fingerprint("repair", backend.identity, policy.model_dump())

    @property
    def batch_size(self) -> int:
        """The backend's."""
        return self._backend.batch_size

    def answer(self, questions: Sequence[RewriteQuestion]) -> list[RewriteAnswer | Failure]:
        """Answer, and generate what shows a fault again, with the next seed each time."""
        policy = self._policy
        tries: list[list[Generated | Failure]] = [[generated] for generated in self._backend.answer(questions)]
        faults = {}
        for index, (first,) in enumerate(tries):
            if isinstance(first, Generated) and policy.attempts and (fault := policy.fault(questions[index], first)):
                faults[index] = fault
        faulty = list(faults)
        for attempt in range(1, policy.attempts + 1):
            if not faulty:
                break
            again = self._backend.answer([replace(questions[index], attempt=attempt) for index in faulty])
            for index, generated in zip(faulty, again, strict=True):
                tries[index].append(generated)
            # an error now is one more try without success, for the first one brought a text
            faulty = [i for i in faulty if isinstance(t := tries[i][-1], Failure) or policy.fault(questions[i], t)]
        return [
            _answer(question, generated, faults.get(index, ""), raw=index in faulty)
            for index, (question, generated) in enumerate(zip(questions, tries, strict=True))
        ]

    def close(self) -> None:
        """Close the backend."""
        self._backend.close()


def _answer(
    question: RewriteQuestion, tries: Sequence[Generated | Failure], fault: str, *, raw: bool
) -> RewriteAnswer | Failure:
    first = tries[0]
    if isinstance(first, Failure):
        return first
    texts = [generated for generated in tries if isinstance(generated, Generated)]
    return RewriteAnswer(
        question.draft if raw else texts[-1].text,
        texts[-1].finish_reason,
        sum(generated.tokens for generated in texts),
        len(tries) - 1,
        fault,
        raw,
    )
