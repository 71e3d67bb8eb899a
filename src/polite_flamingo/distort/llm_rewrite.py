"""Strategy 1 (section 3.1.1): a language model is asked to make its own good answer short and blunt.

With `command_probability` one of the 24 commands (Table 5) is added to the prompt. Who answers is a `Completer`: the
rules of `terse_rules`, or a model behind one of the backends that also rewrite, through the same engine
(``distort/drafts.py``).
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

    def complete(self, keys: Sequence[str], prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """One draft per prompt, in order; the i-th depends on ``keys[i]``, ``prompts[i]`` and ``rngs[i]`` alone."""


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
        prompts = [self.prompt(response, rng) for response, rng in zip(responses, rngs, strict=True)]
        drafts = self.completer.complete([self.key(response) for response in responses], prompts, rngs)
        return [Draft(text, prompt.command) for text, prompt in zip(drafts, prompts, strict=True)]

    def key(self, response: Response) -> str:
        """Names the draft of a response; also the id of its pair."""
        return f"{response.id}/{self.name}"

    def prompt(self, response: Response, rng: Random) -> DistortionPrompt:
        """What is asked about `response`, with a command drawn from `rng`."""
        command = rng.choice(COMMANDS) if rng.random() < self.command_probability else ""
        return DistortionPrompt(response.instruction, response.text, command)


def clean_completion(text: str) -> str:
    """What the model wrote inside the quotation mark the prompt has opened."""
    text = _TURN.split(text, maxsplit=1)[0]
    head, quote, _ = text.partition('"\n')
    text = (head if quote else text).strip()
    return text.removeprefix('"').removesuffix('"').strip()
