"""A vision-language judge: is every statement of a rewrite supported, and is its answer the annotated one?

The backends that rewrite answer here too (`jobs.backends`): an endpoint, bound to JSON where it can be, or a Hugging
Face model; cached, resumable by call, here or on a Ray cluster. It sees the rewrite as it came, before any paragraph is
cut. Beyond the paper, and off while no backend is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import read_shards
from polite_flamingo.jobs.backends.load import BackendOptions, open_text_executor
from polite_flamingo.jobs.backends.text import Message, TextBackend
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import Executor
from polite_flamingo.jobs.outcomes import AnswerFormat, Outcome
from polite_flamingo.jobs.progress import Progress, Report
from polite_flamingo.jobs.questions import Failure, Input, calls_at_once
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.prompts.judging import SCHEMA, judging_messages, read_verdict
from polite_flamingo.records import Generated, Rewrite
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

WORDING = judging_messages("", "", "", 0)  # a verdict depends on it
NO_VERDICT = -1.0


class JudgeSettings(Settings):
    """Who judges, and how often it is asked again."""

    backend: str | None = Field(
        None,
        min_length=1,
        description="ours: hf:… | openai:…, sees images (docs/backends.md); null: nobody",
    )
    attempts: int = Field(2, ge=0, description="further tries where the verdict cannot be read; then there is none")
    max_new_tokens: int = Field(400, gt=0, description="most tokens of a verdict")


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
    """A rewrite to judge.

    Args:
        key: Id of the record.
        instruction: What was asked.
        answer: The raw answer.
        text: The rewrite.
        images: Paths below the image root.
        attempt: 0 for the first try.
    """

    key: str
    instruction: str
    answer: str
    text: str
    images: tuple[str, ...]
    attempt: int = 0

    @property
    def size(self) -> int:
        """Characters of the texts."""
        return len(self.instruction) + len(self.answer) + len(self.text)

    def content(self) -> Any:
        """The texts and the wording."""
        return [self.instruction, self.answer, self.text, WORDING]

    def messages(self) -> Sequence[Message]:
        """What a chat model is asked."""
        return judging_messages(self.instruction, self.answer, self.text, len(self.images))

    def prompt(self, plain: Callable[[str], str]) -> str:
        """Refuse: the Flamingo was never taught to judge."""
        raise ModelError(
            "the Flamingo rewriter does not judge", where="score.judge.backend", next_step="hf: or openai:"
        )


@dataclass(frozen=True, slots=True)
class JudgeScores:
    """A verdict, as the journal holds it.

    Args:
        supported: Share of the statements that are supported; `NO_VERDICT`: no reply could be read.
        other_answer: 1 where the answer is not the annotated one.
        reason: In the judge's words.
        tokens: Generated, all tries together.
        attempts: Tries beyond the first.
    """

    supported: float
    other_answer: int
    reason: str
    tokens: int = 0
    attempts: int = 0

    @property
    def columns(self) -> dict[str, Any]:
        """The score columns."""
        if self.supported == NO_VERDICT:
            return {}
        return {
            "judge_supported": self.supported, "judge_other_answer": self.other_answer, "judge_reason": self.reason,
        }  # fmt: skip


def _counts(scores: JudgeScores) -> dict[str, int]:
    malformed = scores.supported == NO_VERDICT
    mended = scores.attempts > 0 and not malformed
    return {"tokens": scores.tokens, "asked_again": int(mended), "malformed": int(malformed)}


JUDGE_SCORES = AnswerFormat(JudgeScores, _counts, rates=("tokens",))


class JudgingBackend:
    """A text backend whose replies are read as verdicts; what cannot be read is asked for again with another seed.

    Args:
        backend: What generates.
        attempts: Further tries.
    """

    def __init__(self, backend: TextBackend, attempts: int) -> None:
        self._backend = backend
        self._attempts = attempts
        self.calls_at_once = calls_at_once(backend)
        self.identity = fingerprint("judge", backend.identity, attempts, SCHEMA)

    @property
    def batch_size(self) -> int:
        """The backend's."""
        return self._backend.batch_size

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[JudgeScores | Failure]:
        """The verdicts."""
        replies: list[list[Generated | Failure]] = [[] for _ in questions]
        open_ones = list(range(len(questions)))
        for attempt in range(self._attempts + 1):
            if not open_ones:
                break
            asked = [replace(questions[index], attempt=attempt) for index in open_ones]
            for index, reply in zip(open_ones, self._backend.answer(asked), strict=True):
                replies[index].append(reply)
            open_ones = [index for index in open_ones if _is_malformed(replies[index][-1])]
        return [_scores_of(tries) for tries in replies]

    def close(self) -> None:
        """Close the backend."""
        self._backend.close()


def _is_malformed(reply: Generated | Failure) -> bool:
    return isinstance(reply, Generated) and read_verdict(reply.text) is None


def _scores_of(tries: Sequence[Generated | Failure]) -> JudgeScores | Failure:
    last = tries[-1]
    if isinstance(last, Failure):
        return last
    tokens = sum(reply.tokens for reply in tries if isinstance(reply, Generated))
    verdict = read_verdict(last.text)
    if verdict is None:
        return JudgeScores(NO_VERDICT, 0, "", tokens, len(tries) - 1)
    return JudgeScores(verdict.supported, int(not verdict.same_answer), verdict.reason, tokens, len(tries) - 1)


@dataclass(frozen=True, slots=True)
class JudgingJob:
    """Judging of a folder of rewrites.

    Args:
        rewrites: Shard folder of the rewrites.
        journal: Folder of unfinished work.
        settings: Who judges.
        options: Machine and folders.
    """

    rewrites: Path
    journal: Path
    settings: JudgeSettings
    options: BackendOptions

    @property
    def decoding(self) -> GenerationSettings:
        """Greedy: a verdict is no matter of chance."""
        return GenerationSettings(max_new_tokens=self.settings.max_new_tokens, num_beams=1, do_sample=False)

    @property
    def asking(self) -> BackendOptions:
        """The options, with the schema of the replies."""
        return replace(self.options, schema=SCHEMA)

    def run(self, report: Report | None = None) -> Progress | None:
        """Judge what no earlier run has; None: nobody judges."""
        if self.settings.backend is None:
            return None
        use = partial(JudgingBackend, attempts=self.settings.attempts)
        with closing(open_text_executor(self.settings.backend, self.decoding, self.asking, use)) as executor:
            return self.run_with(executor, report)

    def run_with(self, executor: Executor[JudgeQuestion, JudgeScores], report: Report | None = None) -> Progress:
        """The same with whoever answers at hand."""
        return run(self._job, Input(fingerprint(self.rewrites), self._questions), executor, report)

    def columns(self) -> Iterator[Mapping[str, Any]]:
        """The judge's columns of every record, in order; none where it gave no verdict or is not asked."""
        outcomes = iter(()) if self.settings.backend is None else self._job.outcomes()
        for rewrite in self._read():
            if self.settings.backend is None or ask(rewrite) is None:
                yield {}
                continue
            outcome: Outcome[JudgeScores] | None = next(outcomes, None)
            if outcome is None or outcome.id != rewrite.id:
                raise DataError(
                    "the journal belongs to other rewrites",
                    value=rewrite.id,
                    where=self.journal,
                    next_step="delete it and start the same command again",
                )
            yield {} if outcome.answer is None else outcome.answer.columns

    def counts(self) -> dict[str, int] | None:
        """Records asked about, those without a verdict, and why; None: nobody judges."""
        if self.settings.backend is None:
            return None
        counts: Counter[str] = Counter(dict.fromkeys(("asked", "failed", "asked_again", "malformed", "tokens"), 0))
        for outcome in self._job.outcomes():
            counts["asked"] += 1
            counts["failed"] += outcome.answer is None
            counts.update({} if outcome.answer is None else _counts(outcome.answer))
        return dict(counts)

    @property
    def _job(self) -> Job[JudgeScores]:
        options = self.options
        label, threads = "score judge", options.machine.threads
        return Job(JUDGE_SCORES, self.journal, options.image_root, label=label, image_threads=threads)

    def _questions(self, place: Sequence[int]) -> Iterator[tuple[JudgeQuestion, tuple[int]]]:
        (start,) = place or (0,)
        for row, rewrite in enumerate(self._read(start), start + 1):
            question = ask(rewrite)
            if question is not None:
                yield question, (row,)

    def _read(self, start: int = 0) -> Iterator[Rewrite]:
        return map(Rewrite.from_row, read_shards(self.rewrites, start=start))


def ask(rewrite: Rewrite) -> JudgeQuestion | None:
    """The question about a record; None: it has no image to judge by."""
    if not rewrite.images:
        return None
    images = tuple(image.path for image in rewrite.images)
    return JudgeQuestion(rewrite.id, rewrite.instruction, rewrite.raw_answer, rewrite.rewritten, images)
