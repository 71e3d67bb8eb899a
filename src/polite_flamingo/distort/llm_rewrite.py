"""Strategy 1 (section 3.1.1): a language model is asked to make its own good answer short and blunt.

With `command_probability` one of the 24 commands (Table 5) is added to the prompt. Who answers is a `Completer`: the
rules of `terse_rules`, or a model behind one of the backends that also rewrite (``rewrite/backends``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from polite_flamingo.distort.base import Draft, Response
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt

_TURN = re.compile(r"\n?### (?:Human|Assistant)\b")


class Completer(Protocol):
    """Something that completes distortion prompts."""

    @property
    def identity(self) -> str:
        """Content hash of weights, prompt form and settings, or the name of the rules."""

    def complete(self, prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """One draft per prompt, in order; the i-th depends on ``prompts[i]`` and ``rngs[i]`` alone."""

    def close(self) -> None:
        """Free what is held."""


@dataclass(frozen=True, slots=True)
class LlmRewrite:
    """LLM-instructed distortion; works on every response."""

    completer: Completer
    command_probability: float = 0.5
    name: str = "llm_rewrite"

    def applies(self, response: Response) -> bool:
        """Always."""
        return True

    def distort(self, responses: Sequence[Response], rngs: Sequence[Random]) -> list[Draft]:
        """Draw commands, then let the completer answer."""
        commands = [rng.choice(COMMANDS) if rng.random() < self.command_probability else "" for rng in rngs]
        prompts = [DistortionPrompt(r.instruction, r.text, c) for r, c in zip(responses, commands, strict=True)]
        drafts = self.completer.complete(prompts, rngs)
        return [Draft(text, command) for text, command in zip(drafts, commands, strict=True)]


def clean_completion(text: str) -> str:
    """What the model wrote inside the quotation mark the prompt has opened."""
    text = _TURN.split(text, maxsplit=1)[0]
    head, quote, _ = text.partition('"\n')
    text = (head if quote else text).strip()
    return text.removeprefix('"').removesuffix('"').strip()
