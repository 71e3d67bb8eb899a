"""LLM-instructed distortion (section 3.1.1) through the rewriting engine: the same job with another model.

Two passes over the samples. The first turns every response the strategy takes into a request, and the engine answers
them into a journal; the second makes the pairs and reads its drafts from that journal, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from polite_flamingo.distort.base import Distortion
from polite_flamingo.distort.llm_rewrite import LlmRewrite, clean_completion
from polite_flamingo.distort.mix import assign, responses_of, rng_of
from polite_flamingo.errors import DataError
from polite_flamingo.jobs.backends.base import Request
from polite_flamingo.jobs.engine import outcomes
from polite_flamingo.prompts.commands import DistortionPrompt
from polite_flamingo.records import Sample

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings

TERSE_RULES = "terse_rules"
FORMS = "terse_rules, hf:<folder or id@revision>, openai:<base url>#<model>"
MAX_NEW_TOKENS, TEMPERATURE, TOP_P = 256, 0.7, 0.9  # ours: drafts are short, and the distortion is to vary


def draft_settings(seed: int) -> GenerationSettings:
    """How a model writes drafts: sampled, each response with its own random numbers."""
    from polite_flamingo.model.settings import GenerationSettings

    return GenerationSettings(
        max_new_tokens=MAX_NEW_TOKENS,
        num_beams=1,
        do_sample=True,
        temperature=TEMPERATURE,
        top_k=0,
        top_p=TOP_P,
        no_repeat_ngram_size=0,
        seed=seed,
    )


class NoDrafts:
    """Stands for a model while the requests are made: it is never asked itself."""

    identity = ""

    def complete(self, keys: Sequence[str], prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """Refuse."""
        raise DataError("drafts are asked for before the engine has made them", value=list(keys[:3]))


class Drafts:
    """Completer that reads what the engine has written; drafts are asked for in the order of the requests.

    Args:
        journal: Folder of the finished journal.
        identity: The backend's identity.
    """

    def __init__(self, journal: Path, identity: str) -> None:
        self.identity = identity
        self._journal = journal
        self._outcomes = outcomes(journal)

    def complete(self, keys: Sequence[str], prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """The draft of each key; empty where the model had no answer.

        Raises:
            DataError: the journal holds no such draft, or not in this order.
        """
        return [self._next(key) for key in keys]

    def _next(self, key: str) -> str:
        for outcome in self._outcomes:
            if outcome.id == key:
                return clean_completion(outcome.text) if outcome.answered else ""
        raise DataError(
            "the journal holds no draft of this response",
            value=key,
            where=self._journal,
            next_step="delete the folder and run the stage again",
        )


def draft_requests(
    samples: Iterable[Sample],
    strategies: Sequence[Distortion],
    *,
    assignment: str,
    weights: Mapping[str, float],
    seed: int,
) -> Iterator[Request]:
    """What to ask a model: one request per response that the LLM-instructed strategy distorts, in input order.

    Args:
        samples: The instruction samples.
        strategies: All that are in use.
        assignment: ``weighted`` or ``all``.
        weights: Relative frequency per strategy name.
        seed: Run's seed.
    """
    for sample in samples:
        for response in responses_of(sample):
            for strategy in assign(response, strategies, assignment, weights, seed):
                if isinstance(strategy, LlmRewrite):
                    prompt = strategy.prompt(response, rng_of(response, strategy, seed))
                    yield Request(strategy.key(response), messages=tuple(prompt.messages))
