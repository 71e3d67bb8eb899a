"""LLM-instructed distortion (section 3.1.1) through the same backends that rewrite."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import Random

from polite_flamingo.distort.llm_rewrite import Completer, clean_completion
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.prompts.commands import DistortionPrompt
from polite_flamingo.rewrite.backends.base import Backend, Request, failed
from polite_flamingo.rewrite.backends.load import FLAMINGO, Place, load_backend

logger = logging.getLogger(__name__)

TERSE_RULES = "terse_rules"
FORMS = "terse_rules, hf:<folder or id@revision>, openai:<base url>#<model>"
MAX_NEW_TOKENS, TEMPERATURE, TOP_P = 256, 0.7, 0.9  # ours: drafts are short, and the distortion is to vary


class BackendCompleter:
    """Distortion prompts as requests to a backend; the answer goes on from the authors' promise.

    Args:
        backend: A chat model.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.identity = backend.identity

    def complete(self, prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """One draft per prompt; empty, and logged, where the model could not answer this one.

        Raises:
            ModelError: the model answered none of several prompts.
        """
        requests = [
            Request(key=f"{rng.getrandbits(63):016x}", messages=tuple(prompt.messages))
            for prompt, rng in zip(prompts, rngs, strict=True)
        ]
        answers = self._backend.generate(requests)
        lost = [(p, a.finish_reason) for p, a in zip(prompts, answers, strict=True) if failed(a)]
        for prompt, reason in lost:
            logger.warning("no draft for %r: %s", prompt.instruction[:80], reason)
        if len(lost) == len(prompts) > 1:
            raise ModelError(
                "the distortion backend answered none of its prompts", value=lost[0][1], where="distortion_backend"
            )
        return [clean_completion(answer.text) for answer in answers]

    def close(self) -> None:
        """Free the backend."""
        self._backend.close()


def load_completer(spec: str, place: Place, *, seed: int = 0) -> Completer:
    """Make what answers distortion prompts.

    Args:
        spec: ``terse_rules`` (rules, no model), ``hf:<folder or id@revision>`` or ``openai:<base url>#<model>``.
        place: Machine and folders.
        seed: Run's seed.

    Raises:
        ConfigError: the spec has none of these forms.
    """
    if spec == TERSE_RULES:
        return TerseRules()
    if spec == FLAMINGO:
        raise ConfigError(
            "the Flamingo rewriter cannot distort", value=spec, where="distortion_backend", next_step=f"one of: {FORMS}"
        )
    from polite_flamingo.model.generate import GenerationSettings

    settings = GenerationSettings(
        max_new_tokens=MAX_NEW_TOKENS,
        num_beams=1,
        do_sample=True,
        temperature=TEMPERATURE,
        top_k=0,
        top_p=TOP_P,
        no_repeat_ngram_size=0,
        seed=seed,
    )
    try:
        return BackendCompleter(load_backend(spec, settings, place))
    except ConfigError as error:
        raise ConfigError(
            error.what, value=error.value, where="distortion_backend", next_step=f"one of: {FORMS}"
        ) from None
