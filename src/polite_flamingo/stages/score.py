"""Stage ``score`` (section 4.2): every scorer writes its column about every rewrite; nothing is decided here.

Reads  : data/P/rewrites, models/P/backbones.
Writes : data/P/scored (records with all of `COLUMNS`, ``quarantine.jsonl``, and the columns alone as ``table/``),
reports/P/score.json.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.filter.table import FOLDER as TABLE
from polite_flamingo.filter.table import write_table
from polite_flamingo.io.files import publishing
from polite_flamingo.io.shards import count_shards, read_shards, write_shards
from polite_flamingo.io.text import write_json, write_jsonl
from polite_flamingo.jobs.backends.load import backend_options
from polite_flamingo.jobs.storage import storage_errors
from polite_flamingo.params.schema import Params
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Reject, Rewrite
from polite_flamingo.scorers.job import ModelColumn, ScoringJob
from polite_flamingo.scorers.judge import JudgingJob
from polite_flamingo.scorers.load import ABSENT, SCORERS, open_scorer_executor, recipe_of
from polite_flamingo.scorers.summary import summarise
from polite_flamingo.tracking.base import Tracker

LOG = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Score every rewrite, write columns and their distribution.

    Raises:
        DataError: there are no rewrites.
        QualityError: more records than ``quality.max_rejected_share`` could not be scored.
    """
    rewrites = params.data / "rewrites"
    total = count_shards(rewrites) if rewrites.is_dir() else 0
    if total == 0:
        raise DataError("no rewrites", where=rewrites, next_step="run `polite-flamingo rewrite`")
    present = [name for name in SCORERS if getattr(params.backbones, name) != ABSENT]
    journals = Path(".work") / f"score-{params.profile}"
    job = ScoringJob(rewrites, present, journals, params.image_root, params.runtime.threads)
    for scorer in present:
        recipe = recipe_of(scorer, params.runtime, params.models, params.image_root, params.score.clip_mode)
        with closing(open_scorer_executor(recipe)) as executor:
            for column in job.columns(scorer):
                progress = job.run(column, executor, partial(_report, tracker, column))
                without = progress.failed + progress.broken
                LOG.info("%s: %d scored, %d without", column.name, progress.done - without, without)

    judging = judging_job(params, rewrites, journals / "judge")
    judging.run(partial(_report_judge, tracker))
    scored = params.data / "scored"
    lost = _publish(job, scored, judging)
    if len(lost) / total > params.quality.max_rejected_share:
        raise QualityError(
            f"{len(lost)} of {total} rewrites could not be scored",
            value=Reasons(lost).lines(),
            where=scored / "quarantine.jsonl",
            next_step="mend what the reasons name or raise quality.max_rejected_share; finished scores are kept",
        )
    report = summarise(map(Rewrite.from_row, read_shards(scored)))
    report["quarantined"] = len(lost)
    report["judge"] = judging.counts()
    report["absent"] = sorted(set(SCORERS) - set(present))
    report["models"] = {name: getattr(params.backbones, name) for name in present}
    if params.score.judge.backend is not None:  # an endpoint by its model, not its address
        report["models"]["judge"] = params.score.judge.backend.rpartition("#")[2]
    write_json(params.reports / "score.json", report)
    tracker.params({"clip_mode": params.score.clip_mode, "absent": report["absent"]})
    tracker.metrics({f"{column}_mean": value["mean"] for column, value in report["columns"].items() if value["count"]})
    return report


def _report(tracker: Tracker, column: ModelColumn, figures: Mapping[str, float], step: int) -> None:
    tracker.metrics({f"{column.name}.{name}": value for name, value in figures.items()}, step)


def judging_job(params: Params, rewrites: Path, journal: Path) -> JudgingJob:
    """The judging of a folder of rewrites, if the profile names a judge."""
    options = backend_options(params.runtime, params.image_root, params.models)
    return JudgingJob(rewrites, journal, params.score.judge, options)


def _report_judge(tracker: Tracker, figures: Mapping[str, float], step: int) -> None:
    tracker.metrics({f"judge.{name}": value for name, value in figures.items()}, step)


def _publish(job: ScoringJob, scored: Path, judging: JudgingJob) -> list[Reject]:
    """Join all columns into `scored`, which is complete or as it was; returns the records that got no score."""
    lost: list[Reject] = []

    def rows() -> Iterator[dict[str, Any]]:
        for record in job.scored(judging.columns()):
            if isinstance(record, Reject):
                lost.append(record)
            else:
                yield record.to_row()

    with storage_errors(scored, "publish"), publishing(scored) as staging:
        write_shards(staging, rows())
        write_jsonl(staging / "quarantine.jsonl", (reject.to_row() for reject in lost))
        write_table(map(Rewrite.from_row, read_shards(staging)), staging / TABLE)
    return lost
