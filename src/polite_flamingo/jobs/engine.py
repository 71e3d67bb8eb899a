"""The engine: questions in, a sealed journal of outcomes out; on one machine or many, and through any interruption.

Questions stream through four steps: units get their content hash, finished ones are skipped, the images of the rest are
checked, and calls of near-equal size go to an executor, which answers them. A thread does the first three steps ahead
of the model. Only this process writes to the journal, so the executor may be a model in this process
(`executor.LocalExecutor`) or a pool of actors on a cluster (`ray_pool.RayExecutor`); what is in the journal is the
same, and a job may be started on one and finished on the other.

Memory holds the shards being worked on, however long the input is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from polite_flamingo.errors import ModelError
from polite_flamingo.io.shards import read_shards
from polite_flamingo.jobs.executor import Call, Executor
from polite_flamingo.jobs.journal import SHARD_SIZE, Journal, open_journal
from polite_flamingo.jobs.lookahead import lookahead
from polite_flamingo.jobs.outcomes import FAILED, AnswerFormat, Outcome
from polite_flamingo.jobs.planning import OpenShard, Planned, SealedShard, plan
from polite_flamingo.jobs.progress import Progress, Report, progress_bar
from polite_flamingo.jobs.questions import A, Failure, Input, Q
from polite_flamingo.jobs.units import Images, Unit

CALLS_AHEAD = 4  # calls prepared ahead of the model
FAILED_CALLS = 3  # calls in a row without a single answer that end a run


@dataclass(frozen=True, slots=True)
class Job(Generic[A]):
    """What a job is about, and where its work lies.

    Args:
        answers: The type of its answers.
        journal: Folder of its journal.
        image_root: Folder of the image paths.
        total: Number of questions, for the progress bar.
        label: Name of the progress bar; None: no bar.
        image_threads: Images checked at the same time.
        shard_size: Units per shard.
    """

    answers: AnswerFormat[A]
    journal: Path
    image_root: Path
    total: int | None = None
    label: str | None = None
    image_threads: int = 2
    shard_size: int = SHARD_SIZE

    def outcomes(self, start: int = 0) -> Iterator[Outcome[A]]:
        """Stream the outcomes of the finished job in input order, from number `start` on."""
        return map(self.answers.from_row, read_shards(self.journal, start=start))


def run(
    job: Job[A], questions: Iterable[Q] | Input[Q], executor: Executor[Q, A], report: Report | None = None
) -> Progress:
    """Answer every question once; started again after any interruption, it goes on where it was.

    Args:
        job: What the questions are part of; read the result with `Job.outcomes`.
        questions: What to answer, in a fixed order; an `Input` lets a resumed run begin where the last one stopped.
        executor: Who answers.
        report: Gets rate, remaining time, failures and the answers' own figures every ten seconds.

    Raises:
        BusyError: another process works on this journal.
        StorageError: the disk is full, read-only or failing; everything finished is intact.
        ModelError: the backend answers nothing any more.
    """
    asked = questions if isinstance(questions, Input) else Input.of(questions)
    images = Images(job.image_root, job.image_threads)
    progress = Progress(job.total)
    with (
        open_journal(job.journal, job.answers, job.shard_size) as journal,
        progress_bar(progress, job.label, report) as refresh,
        lookahead(plan(asked, journal, images, executor.identity, executor.call_size), CALLS_AHEAD) as planned,
    ):
        bookkeeping: Bookkeeping[Q, A] = Bookkeeping(journal, progress, refresh, asked.version)
        for call, answers in executor.map(bookkeeping.calls(planned)):
            bookkeeping.record(call, answers)
        journal.finish(bookkeeping.shards)
    return progress


class Bookkeeping(Generic[Q, A]):
    """Keeps the open shards, appends what comes back and seals what is complete.

    Args:
        journal: Where to.
        progress: Counts every outcome.
        refresh: Shows the progress.
        version: Of the input.
    """

    def __init__(self, journal: Journal[A], progress: Progress, refresh: Callable[[], None], version: str = "") -> None:
        self._journal, self._progress, self._refresh, self._version = journal, progress, refresh, version
        self._open: dict[int, tuple[OpenShard[A], dict[int, Outcome[A]]]] = {}  # outcomes by index
        self._failed_calls = 0
        self.shards = 0

    def calls(self, planned: Iterable[Planned[A, Q]]) -> Iterator[Call[Q]]:
        """Count what is known of the shards and hand on the calls."""
        for item in planned:
            if isinstance(item, Call):
                yield item
                continue
            if isinstance(item, SealedShard):
                self.shards = max(self.shards, item.entry.shard + 1)
                self._progress.add_sealed(item.entry, self._journal.answers)
                self._refresh()
                continue
            self.shards = max(self.shards, item.shard + 1)
            self._open[item.shard] = (item, {o.index: o for o in (*item.restored, *item.broken)})
            self._count(item.restored, restored=True)
            self._count(item.broken, restored=False)
            self._seal_if_complete(item.shard)

    def record(self, call: Call[Q], answers: Sequence[A | Failure]) -> None:
        """Write down the answers of a call.

        Raises:
            ModelError: it is the third call in a row without any.
        """
        outcomes = [self._outcome(unit, answer) for unit, answer in zip(call.units, answers, strict=True)]
        self._journal.append(call.shard, outcomes)
        self._open[call.shard][1].update((outcome.index, outcome) for outcome in outcomes)
        self._count(outcomes, restored=False)
        self._seal_if_complete(call.shard)
        self._failed_calls = self._failed_calls + 1 if all(o.status == FAILED for o in outcomes) else 0
        if self._failed_calls >= FAILED_CALLS:
            raise ModelError(
                f"the backend answered none of the last {FAILED_CALLS} calls",
                value=outcomes[-1].reason,
                where=outcomes[-1].id,
                next_step="mend what the message says and start again: finished records are kept, failed ones retried",
            )

    def _outcome(self, unit: Unit[Q], answer: A | Failure) -> Outcome[A]:
        """What became of a unit; an answer that no shard can hold is the error of its record."""
        if isinstance(answer, Failure):
            return Outcome(unit.index, unit.key, unit.question.key, status=FAILED, reason=answer.reason)
        fault = self._journal.answers.fault(answer)
        if fault is None:
            return Outcome(unit.index, unit.key, unit.question.key, answer)
        reason = f"error: the answer cannot be kept: {fault}"
        return Outcome(unit.index, unit.key, unit.question.key, status=FAILED, reason=reason)

    def _seal_if_complete(self, shard: int) -> None:
        opened, outcomes = self._open[shard]
        if len(outcomes) == opened.size:
            self._journal.seal(shard, [outcomes[index] for index in sorted(outcomes)], self._version, opened.end)
            del self._open[shard]

    def _count(self, outcomes: Iterable[Outcome[A]], *, restored: bool) -> None:
        for outcome in outcomes:
            self._progress.add(outcome, self._journal.answers, restored=restored)
        self._refresh()
