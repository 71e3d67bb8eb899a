"""The question of rewriting: an instruction, its images and a raw answer, in the forms that models take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polite_flamingo.prompts.rewriting import DEFAULT, RewritingPrompt, TaskKind, load_prompts
from polite_flamingo.prompts.templates import rewriter_prompt
from polite_flamingo.records import Sample
from polite_flamingo.rewrite.kinds import fields_of, kind_of

if TYPE_CHECKING:
    from polite_flamingo.jobs.backends.text import Message

FIGURE_3 = rewriter_prompt("{}", "{}", 1)
FIGURE_3_VERSION = f"figure 3@{hashlib.sha256(FIGURE_3.encode()).hexdigest()[:8]}"
PLAIN = load_prompts(DEFAULT)[TaskKind.GENERAL]


@dataclass(frozen=True, slots=True)
class RewriteQuestion:
    """One raw answer to rewrite (Figure 3).

    Args:
        key: Sample id; decides, with the run's seed and `attempt`, the random numbers.
        instruction: What the raw answer responds to.
        draft: The raw answer.
        images: Paths below the image root, in order.
        attempt: 0 for the first try; above 0 a repair.
        wording: How a chat model is asked.
        fields: What its template may show besides.
    """

    key: str
    instruction: str
    draft: str
    images: tuple[str, ...] = ()
    attempt: int = 0
    wording: RewritingPrompt = PLAIN
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Characters of instruction and draft."""
        return len(self.instruction) + len(self.draft)

    def content(self) -> Any:
        """Instruction, draft, and the wording of the prompts: under another one it is another question."""
        return [self.instruction, self.draft, FIGURE_3, self.wording.text, self.fields]

    def messages(self) -> Sequence[Message]:
        """Figure 3's task in words, for a model that was not trained on it."""
        fields = {**dict(self.fields), "question": self.instruction, "answer": self.draft}
        return self.wording.messages(fields, len(self.images))

    def prompt(self, plain: Callable[[str], str]) -> str:
        """The prompt of Figure 3, on which the rewriter was trained."""
        return rewriter_prompt(plain(self.instruction), plain(self.draft), len(self.images))


def question_of(sample: Sample, prompts: Mapping[TaskKind, RewritingPrompt] | None = None) -> RewriteQuestion:
    """What to ask for an annotation: its first turn, the whole raw answer (captions, boxes) as the draft.

    Args:
        sample: The annotation.
        prompts: How a chat model is asked, by the kind of task; None: the trained rewriter is asked.
    """
    images = tuple(sample.images[i].path for i in sample.turns[0].images)
    question = RewriteQuestion(sample.id, sample.instruction, sample.response, images)
    return (
        question if prompts is None else replace(question, wording=prompts[kind_of(sample)], fields=fields_of(sample))
    )
