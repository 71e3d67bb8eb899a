"""The question of rewriting: an instruction, its images and a raw answer, in the forms that models take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polite_flamingo.prompts.rewriting import rewriting_messages
from polite_flamingo.prompts.templates import rewriter_prompt
from polite_flamingo.records import Sample

if TYPE_CHECKING:
    from polite_flamingo.jobs.backends.text import Message

FORMS = (rewriter_prompt("{}", "{}", 1), rewriting_messages("{}", "{}", 1))  # an answer depends on them


@dataclass(frozen=True, slots=True)
class RewriteQuestion:
    """One raw answer to rewrite (Figure 3).

    Args:
        key: Sample id; decides, with the run's seed and `attempt`, the random numbers.
        instruction: What the raw answer responds to.
        draft: The raw answer.
        images: Paths below the image root, in order.
        attempt: 0 for the first try; above 0 a repair.
    """

    key: str
    instruction: str
    draft: str
    images: tuple[str, ...] = ()
    attempt: int = 0

    @property
    def size(self) -> int:
        """Characters of instruction and draft."""
        return len(self.instruction) + len(self.draft)

    def content(self) -> Any:
        """Instruction, draft, and the forms of the prompts."""
        return [self.instruction, self.draft, FORMS]

    def messages(self) -> Sequence[Message]:
        """Figure 3's task in words, for a model that was not trained on it."""
        return rewriting_messages(self.instruction, self.draft, len(self.images))

    def prompt(self, plain: Callable[[str], str]) -> str:
        """The prompt of Figure 3, on which the rewriter was trained."""
        return rewriter_prompt(plain(self.instruction), plain(self.draft), len(self.images))


def question_of(sample: Sample) -> RewriteQuestion:
    """What to ask for an annotation: its first turn, the whole raw answer (captions, boxes) as the draft."""
    images = tuple(sample.images[i].path for i in sample.turns[0].images)
    return RewriteQuestion(sample.id, sample.instruction, sample.response, images)
