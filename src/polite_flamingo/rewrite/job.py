"""The job of rewriting: annotations become questions, the engine answers them, answers become records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.errors import DataError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import read_shards
from polite_flamingo.jobs.backends.load import BackendOptions, open_text_executor
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import Executor
from polite_flamingo.jobs.outcomes import Outcome
from polite_flamingo.jobs.progress import Progress, Report
from polite_flamingo.jobs.questions import Input
from polite_flamingo.prompts.rewriting import RewritingPrompt, TaskKind
from polite_flamingo.records import Reject, Rewrite, Sample
from polite_flamingo.rewrite.kinds import kind_of
from polite_flamingo.rewrite.question import FIGURE_3_VERSION, RewriteQuestion, question_of
from polite_flamingo.rewrite.repair import REWRITES, RepairingBackend, RepairPolicy, RewriteAnswer

if TYPE_CHECKING:
    from polite_flamingo.model.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class RewritingJob:
    """Rewriting of a folder of annotations.

    Args:
        samples: Shard folder of the annotations.
        total: Their number.
        journal: Folder of unfinished work.
        options: Machine and folders.
        prompts: How a model that comes ready is asked (`prompts.rewriting`); None: the trained rewriter is asked.
    """

    samples: Path
    total: int
    journal: Path
    options: BackendOptions
    prompts: Mapping[TaskKind, RewritingPrompt] | None = None

    def run(
        self, backend: str, settings: GenerationSettings, policy: RepairPolicy, report: Report | None = None
    ) -> Progress:
        """Rewrite what no earlier run has.

        Args:
            backend: What rewrites, see `jobs.backends.load.load_backend`.
            settings: Decoding.
            policy: When an answer is generated again.
            report: Gets the progress.
        """
        use = partial(RepairingBackend, policy=policy)
        with closing(open_text_executor(backend, settings, self.options, use)) as executor:
            return self.run_with(executor, report)

    def run_with(self, executor: Executor[RewriteQuestion, RewriteAnswer], report: Report | None = None) -> Progress:
        """The same with whoever answers at hand."""
        return run(self._job, Input(fingerprint(self.samples), self._questions), executor, report)

    def rewrites(self) -> Iterator[tuple[Rewrite, RewriteAnswer]]:
        """Every answered annotation as a record without scores, in input order."""
        for sample, outcome in self._outcomes():
            if outcome.answer is not None:
                yield as_rewrite(sample, outcome.answer, self._version(sample)), outcome.answer

    def lost(self) -> Iterator[Reject]:
        """Every annotation without an answer, and why."""
        for sample, outcome in self._outcomes():
            if outcome.answer is None:
                yield Reject(sample.source, "samples/annotation", sample.id, outcome.reason)

    @property
    def _job(self) -> Job[RewriteAnswer]:
        options = self.options
        return Job(REWRITES, self.journal, options.image_root, self.total, "rewrite", options.machine.threads)

    def _questions(self, place: Sequence[int]) -> Iterator[tuple[RewriteQuestion, tuple[int]]]:
        """The questions from a row on, each with the number of the next row."""
        (start,) = place or (0,)
        for row, sample in enumerate(self._read(start), start + 1):
            yield question_of(sample, self.prompts), (row,)

    def _read(self, start: int = 0) -> Iterator[Sample]:
        return map(Sample.from_row, read_shards(self.samples, start=start))

    def _version(self, sample: Sample) -> str:
        return FIGURE_3_VERSION if self.prompts is None else self.prompts[kind_of(sample)].version

    def _outcomes(self) -> Iterator[tuple[Sample, Outcome[RewriteAnswer]]]:
        for sample, outcome in zip(self._read(), self._job.outcomes(), strict=True):
            if outcome.id != sample.id:
                raise DataError(
                    "the journal belongs to other samples",
                    value=(sample.id, outcome.id),
                    where=self.journal,
                    next_step="delete it and start the same command again",
                )
            yield sample, outcome


def as_rewrite(sample: Sample, answer: RewriteAnswer, prompt: str = FIGURE_3_VERSION) -> Rewrite:
    """Join a sample and its answer into a record without scores.

    The version of the prompt is in ``extras["prompt"]``, what repair did in ``extras["repair"]``.
    """
    extras = {**sample.extras, "prompt": prompt}
    if answer.attempts:
        kept = "raw" if answer.raw else "rewrite"
        extras["repair"] = {"attempts": answer.attempts, "fault": answer.fault, "kept": kept}
    return sample.to_rewrite(answer.text, answer.finish_reason, extras)
