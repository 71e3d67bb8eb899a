"""The jobs of scoring: one for each column that needs a model, joined with the columns that need none.

Each has a journal of its own: killed at any instant it goes on where it was, and when one model changes only its column
is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import read_shards
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import Executor
from polite_flamingo.jobs.outcomes import Outcome
from polite_flamingo.jobs.progress import Progress, Report
from polite_flamingo.jobs.questions import Input
from polite_flamingo.records import Reject, Rewrite
from polite_flamingo.scorers import clip, nli, reward, sts
from polite_flamingo.scorers.backend import SCORES, Score
from polite_flamingo.scorers.base import ScoreQuestion
from polite_flamingo.scorers.checks import Checker, checker_of
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.plugged import plugged_scores
from polite_flamingo.scorers.rouge import rouge_score
from polite_flamingo.scorers.text import cut_texts, text_scores

CLIP = "clip_logits"


@dataclass(frozen=True, slots=True)
class ModelColumn:
    """A column that needs a model.

    Args:
        name: Of the column.
        scorer: The model, by its name among the profile's backbones.
        ask: The question about a record and its `cut_texts`; None: the column does not apply.
    """

    name: str
    scorer: str
    ask: Callable[[Rewrite, Sequence[str] | None], ScoreQuestion | None]


MODEL_COLUMNS = (  # the CLIP logits come first, because they say which texts there are
    ModelColumn(CLIP, "clip", lambda rewrite, _: clip.ask(rewrite)),
    ModelColumn("nli", "nli", lambda rewrite, _: nli.ask(rewrite)),
    ModelColumn("reward", "reward", lambda rewrite, _: reward.ask(rewrite)),
    ModelColumn("reward_raw", "reward", lambda rewrite, _: reward.ask_raw(rewrite)),
    ModelColumn("sts", "sts", sts.ask),
)


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """Scoring of a folder of rewrites.

    Args:
        rewrites: Shard folder of the rewrites.
        scorers: The models there are.
        journals: Folder of unfinished work.
        image_root: Folder of the image paths.
        threads: Images checked at the same time.
    """

    rewrites: Path
    scorers: Sequence[str]
    journals: Path
    image_root: Path
    threads: int

    def columns(self, scorer: str | None = None) -> list[ModelColumn]:
        """The columns of one scorer, or of all there are."""
        selected = self.scorers if scorer is None else (scorer,)
        return [column for column in MODEL_COLUMNS if column.scorer in selected]

    def run(
        self, column: ModelColumn, executor: Executor[ScoreQuestion, Score], report: Report | None = None
    ) -> Progress:
        """Compute one column, as far as an earlier run has not."""
        questions = Input(fingerprint(self.rewrites), partial(self._questions, column))
        return run(self._job(column), questions, executor, report)

    def scored(self, judged: Iterable[Mapping[str, Any]] | None = None) -> Iterator[Rewrite | Reject]:
        """Every record with all of `COLUMNS`, or rejected where one has no value.

        Args:
            judged: The judge's columns of each record (`scorers.judge`).
        """
        verdicts = iter(repeat({}) if judged is None else judged)
        checker = checker_of(self._read)
        columns = self.columns()
        answers = {column.name: self._job(column).outcomes() for column in columns}
        for rewrite in self._read():
            texts: list[str] | None = None
            values: dict[str, Any] = dict(next(verdicts))
            failed = []
            for column in columns:
                outcome = self._next(answers[column.name], column, rewrite, texts)
                values[column.name] = _value(outcome)
                if outcome is not None and outcome.answer is None:
                    failed.append(f"{column.name}: {outcome.reason}")
                if column.name == CLIP:
                    texts = cut_texts(rewrite, values[CLIP])
            if failed:
                yield Reject(rewrite.source, "rewrites", rewrite.id, "; ".join(failed))
                continue
            try:
                yield with_all_columns(rewrite, values, texts, checker, self.image_root)
            except DataError as error:
                yield Reject(rewrite.source, "rewrites", rewrite.id, error.what)

    def _questions(self, column: ModelColumn, place: Sequence[int]) -> Iterator[tuple[ScoreQuestion, tuple[int, int]]]:
        """What one column asks about the records, of which the CLIP logits are known unless they are the column.

        A place is the number of the next row, and of the next outcome of CLIP.
        """
        start, clip_start = place or (0, 0)
        clip_column = next((c for c in self.columns() if c.name == CLIP and column.name != CLIP), None)
        logits = None if clip_column is None else self._job(clip_column).outcomes(clip_start)
        for row, rewrite in enumerate(self._read(start), start + 1):
            texts = None
            if clip_column is not None and logits is not None:
                outcome = self._next(logits, clip_column, rewrite, None)
                clip_start += outcome is not None
                texts = cut_texts(rewrite, _value(outcome))
            question = column.ask(rewrite, texts)
            if question is not None:
                yield question, (row, clip_start)

    def _next(
        self,
        outcomes: Iterator[Outcome[Score]],
        column: ModelColumn,
        rewrite: Rewrite,
        texts: Sequence[str] | None,
    ) -> Outcome[Score] | None:
        """The outcome of a record; None where the column does not apply."""
        if column.ask(rewrite, texts) is None:
            return None
        outcome = next(outcomes, None)
        if outcome is None or outcome.id != rewrite.id:
            raise DataError(
                "the journal belongs to other rewrites",
                value=rewrite.id,
                where=self.journals / column.name,
                next_step="delete it and start the same command again",
            )
        return outcome

    def _job(self, column: ModelColumn) -> Job[Score]:
        return Job(
            SCORES,
            self.journals / column.name,
            self.image_root,
            label=f"score {column.name}",
            image_threads=self.threads,
        )

    def _read(self, start: int = 0) -> Iterator[Rewrite]:
        return map(Rewrite.from_row, read_shards(self.rewrites, start=start))


def with_all_columns(
    rewrite: Rewrite, answers: Mapping[str, Any], texts: Sequence[str] | None, checker: Checker, image_root: Path
) -> Rewrite:
    """The record with all of `COLUMNS`.

    Args:
        rewrite: A record.
        answers: The values of `MODEL_COLUMNS`; those left out have no model.
        texts: Its `cut_texts`.
        checker: Of the data set.
        image_root: Folder of the image paths.

    Raises:
        DataError: a scorer of another package fails.
    """
    similar = answers.get("sts")
    values = {**answers, "sts": similar and similar[0], "sts_by_cut": similar if texts else None}
    values |= {"rouge_l": rouge_score(rewrite), **text_scores(rewrite, texts), **checker.score(rewrite, texts)}
    values |= plugged_scores(rewrite, image_root)
    return rewrite.with_scores(**{name: values.get(name) for name in COLUMNS})


def _value(outcome: Outcome[Score] | None) -> Any:
    return None if outcome is None or outcome.answer is None else outcome.answer.value
