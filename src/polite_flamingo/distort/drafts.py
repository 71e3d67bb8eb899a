"""LLM-instructed distortion (section 3.1.1) as a job of the engine.

Two passes over the samples. The first turns every response the strategy takes into a question, and the engine answers
them into a journal; the second makes the pairs and reads its drafts from that journal, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from polite_flamingo.distort.assign import Assign
from polite_flamingo.distort.base import Distortion, responses_of
from polite_flamingo.distort.llm_rewrite import LlmRewrite, clean_completion
from polite_flamingo.distort.mix import rng_of
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.jobs.backends.load import FLAMINGO, SHIPPED, BackendOptions, open_text_executor
from polite_flamingo.jobs.backends.text import TEXTS, ChatQuestion, as_it_is
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.progress import Report
from polite_flamingo.prompts.commands import DistortionPrompt
from polite_flamingo.records import Generated, Reject, Sample

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
    """Stands for a model while the questions are made: it is never asked itself."""

    identity = ""

    def complete(self, keys: Sequence[str], prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """Refuse."""
        raise DataError("drafts are asked for before the engine has made them", value=list(keys[:3]))


class Drafts:
    """Completer that reads what the engine has written; drafts are read in the order of the questions.

    Args:
        job: The finished job.
        identity: The backend's identity.
    """

    def __init__(self, job: Job[Generated], identity: str) -> None:
        self.identity = identity
        self._job = job
        self._outcomes = job.outcomes()

    def complete(self, keys: Sequence[str], prompts: Sequence[DistortionPrompt], rngs: Sequence[Random]) -> list[str]:
        """The draft of each key; empty where the model had no answer.

        Raises:
            DataError: the journal holds no such draft, or not in this order.
        """
        return [self._next(key) for key in keys]

    def _next(self, key: str) -> str:
        for outcome in self._outcomes:
            if outcome.id == key:
                return "" if outcome.answer is None else clean_completion(outcome.answer.text)
        raise DataError(
            "the journal holds no draft of this response",
            value=key,
            where=self._job.journal,
            next_step="delete the folder and start the same command again",
        )


@dataclass(frozen=True, slots=True)
class Drafting:
    """What a model wrote: its drafts, how much it took, and the responses it had none for."""

    drafts: Drafts
    questions: int
    tokens: int
    lost: tuple[Reject, ...]


def write_drafts(
    questions: Callable[[], Iterable[ChatQuestion]],
    backend: str,
    options: BackendOptions,
    journal: Path,
    *,
    seed: int,
    report: Report | None = None,
) -> Drafting:
    """Let a model write a draft for every question, as far as an earlier run has not.

    Args:
        questions: Streams those of `draft_questions`; called twice, first to count them.
        backend: Who writes, one of `FORMS`.
        options: Machine and folders.
        journal: Folder of unfinished work.
        seed: Run's seed.
        report: Gets the progress.

    Raises:
        ConfigError: the backend is unknown, or the rewriter itself.
    """
    if backend in (FLAMINGO, SHIPPED):
        raise ConfigError(
            "the Flamingo rewriter cannot distort",
            value=backend,
            where="distortion_backend",
            next_step=f"one of: {FORMS}",
        )
    try:
        executor = open_text_executor(backend, draft_settings(seed), options, as_it_is)
    except ConfigError as error:
        raise ConfigError(
            error.what, value=error.value, where="distortion_backend", next_step=f"one of: {FORMS}"
        ) from None
    total = sum(1 for _ in questions())
    job = Job(TEXTS, journal, options.image_root, total, "drafts", options.machine.threads)
    with closing(executor):
        run(job, questions(), executor, report)
    tokens, lost = 0, []
    for outcome in job.outcomes():
        if outcome.answer is None:
            lost.append(Reject("distort", "samples/instruction", outcome.id, outcome.reason))
        else:
            tokens += outcome.answer.tokens
    identity = fingerprint(executor.identity, *sorted(journal.glob("part-*.parquet")))
    return Drafting(Drafts(job, identity), total, tokens, tuple(lost))


def draft_questions(
    samples: Iterable[Sample], strategies: Sequence[Distortion], assign: Assign, *, seed: int
) -> Iterator[ChatQuestion]:
    """What to ask a model: one question per response that the LLM-instructed strategy distorts, in input order.

    Args:
        samples: The instruction samples.
        strategies: All that are in use.
        assign: Which of them distort a response.
        seed: Run's seed.
    """
    for sample in samples:
        for response in responses_of(sample):
            for strategy in assign(response, strategies):
                if isinstance(strategy, LlmRewrite):
                    prompt = strategy.prompt(response, rng_of(response, strategy, seed))
                    yield ChatQuestion(strategy.key(response), tuple(prompt.messages))
