"""Stage ``score`` (section 3.3): every scorer writes its column about every rewrite; nothing is decided here.

Reads  : data/P/rewrites, models/P/backbones.
Writes : data/P/scored (records with all of `COLUMNS`, ``quarantine.jsonl``, and the columns alone as ``table/``),
reports/P/score.json.

Each column that needs a model is a job of the rewriting engine, with a journal of its own in ``.work``: killed at any
instant it goes on where it was, and when one model changes only its column is computed again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.filter.table import FOLDER as TABLE
from polite_flamingo.filter.table import write_table
from polite_flamingo.io import count_shards, read_shards, write_json, write_jsonl, write_shards
from polite_flamingo.jobs import engine
from polite_flamingo.jobs.backends.scorer import as_request
from polite_flamingo.jobs.journal import storage_errors
from polite_flamingo.jobs.repair import Outcome
from polite_flamingo.params import Params
from polite_flamingo.records import Reject, Rewrite
from polite_flamingo.scorers import clip, nli, reward, sts
from polite_flamingo.scorers.base import Asked
from polite_flamingo.scorers.checks import checker_of
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.load import ABSENT, SCORERS, make_executor
from polite_flamingo.scorers.nli import nli_label
from polite_flamingo.scorers.rouge import rouge_score
from polite_flamingo.scorers.text import cut_texts, text_scores
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)

CLIP = "clip_logits"

Ask = Callable[[Rewrite, Sequence[str] | None], Asked | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that needs a model.

    Args:
        name: Of the column.
        scorer: The model, by its name among the profile's backbones.
        ask: What is asked about a record and its `cut_texts`; None: the column does not apply.
    """

    name: str
    scorer: str
    ask: Ask


JOBS = (  # the CLIP logits come first, because they say which texts there are
    Column(CLIP, "clip", lambda rewrite, _: clip.ask(rewrite)),
    Column("nli", "nli", lambda rewrite, _: nli.ask(rewrite)),
    Column("reward", "reward", lambda rewrite, _: reward.ask(rewrite)),
    Column("reward_raw", "reward", lambda rewrite, _: reward.ask_raw(rewrite)),
    Column("sts", "sts", sts.ask),
)


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
    jobs = [column for column in JOBS if column.scorer in present]
    journals = Path(".work") / f"score-{params.profile}"
    for scorer in present:
        with closing(make_executor(scorer, params)) as executor:
            for column in jobs:
                if column.scorer == scorer:
                    _answer(column, jobs, executor, rewrites, journals, params, tracker)

    scored = params.data / "scored"
    lost = _publish(rewrites, jobs, journals, scored)
    if len(lost) / total > params.quality.max_rejected_share:
        raise QualityError(
            f"{len(lost)} of {total} rewrites could not be scored",
            value=[f"{reject.row}: {reject.reason}" for reject in lost[:5]],
            where=scored / "quarantine.jsonl",
            next_step="mend what the reasons name or raise quality.max_rejected_share; finished scores are kept",
        )
    report = summarise(scored)
    report["quarantined"] = len(lost)
    report["absent"] = sorted(set(SCORERS) - set(present))
    write_json(params.reports / "score.json", report)
    tracker.params({"clip_mode": params.score.clip_mode, "absent": report["absent"]})
    tracker.metrics({f"{column}_mean": value["mean"] for column, value in report["columns"].items() if value["count"]})
    return report


def _answer(
    column: Column,
    jobs: Sequence[Column],
    executor: engine.Executor,
    rewrites: Path,
    journals: Path,
    params: Params,
    tracker: Tracker,
) -> None:
    """Compute one column, as far as an earlier run has not."""
    asked = [job for job in jobs if job.name == CLIP and column.name != CLIP] + [column]
    done = engine.run(
        (
            as_request(rewrite.id, question)
            for rewrite, questions, _ in _asked(rewrites, asked, journals, unanswered=column.name)
            if (question := questions[column.name]) is not None
        ),
        executor,
        journal=journals / column.name,
        image_root=params.image_root,
        label=f"score {column.name}",
        tracker=_Prefixed(tracker, column.name),
        image_threads=params.runtime.threads,
    )
    logger.info("%s: %d records scored, %d of them by an earlier run", column.name, done.done, done.restored)


def _asked(
    rewrites: Path, jobs: Sequence[Column], journals: Path, unanswered: str = ""
) -> Iterator[tuple[Rewrite, dict[str, Asked | None], dict[str, Outcome | None]]]:
    """Stream every record with what each job asks about it, and the answers of those that are finished."""
    answers = {job.name: engine.outcomes(journals / job.name) for job in jobs if job.name != unanswered}
    for row in read_shards(rewrites):
        rewrite = Rewrite.from_row(row)
        texts: list[str] | None = None
        questions: dict[str, Asked | None] = {}
        outcomes: dict[str, Outcome | None] = {}
        for job in jobs:
            question = questions[job.name] = job.ask(rewrite, texts)
            if job.name == unanswered:
                continue
            outcome = outcomes[job.name] = None if question is None else next(answers[job.name], None)
            if question is not None and (outcome is None or outcome.id != rewrite.id):
                raise DataError(
                    "the journal belongs to other rewrites", value=rewrite.id, where=journals / job.name,
                    next_step="delete it and run the stage again",
                )  # fmt: skip
            if job.name == CLIP:
                texts = cut_texts(rewrite, _value(outcome))
        yield rewrite, questions, outcomes


def _publish(rewrites: Path, jobs: Sequence[Column], journals: Path, scored: Path) -> list[Reject]:
    """Join all columns into `scored`, which is complete or as it was; returns the records that got no score."""
    checker = checker_of(lambda: map(Rewrite.from_row, read_shards(rewrites)))
    lost: list[Reject] = []

    def joined() -> Iterator[Rewrite]:
        for rewrite, _, outcomes in _asked(rewrites, jobs, journals):
            failed = [f"{name}: {o.finish_reason}" for name, o in outcomes.items() if o is not None and not o.answered]
            if failed:
                lost.append(Reject(rewrite.source, "rewrites", rewrite.id, "; ".join(failed)))
                continue
            values = {name: _value(outcome) for name, outcome in outcomes.items()}
            texts = cut_texts(rewrite, values.get(CLIP))
            similar = values.get("sts")
            values |= {"sts": similar and similar[0], "sts_by_cut": similar if texts else None}
            values |= {"rouge_l": rouge_score(rewrite), **text_scores(rewrite, texts), **checker.score(rewrite, texts)}
            yield rewrite.with_scores(**{name: values.get(name) for name in COLUMNS})

    staging = scored.with_name(f".{scored.name}.publishing")
    with storage_errors(scored, "publish"):
        write_shards(staging, (rewrite.to_row() for rewrite in joined()))
        write_jsonl(staging / "quarantine.jsonl", (reject.to_row() for reject in lost))
        write_table(map(Rewrite.from_row, read_shards(staging)), staging / TABLE)
        shutil.rmtree(scored, ignore_errors=True)
        os.replace(staging, scored)
    return lost


def _value(outcome: Outcome | None) -> Any:
    return json.loads(outcome.text) if outcome is not None and outcome.answered else None


class _Prefixed:
    """A tracker whose figures carry the name of a column."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self._tracker, self._name = tracker, name

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings, as they are."""
        self._tracker.params(values)

    def metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Figures under ``column.figure``."""
        self._tracker.metrics({f"{self._name}.{name}": value for name, value in values.items()}, step=step)

    def artifact(self, path: Path) -> None:
        """A file, as it is."""
        self._tracker.artifact(path)


def summarise(scored: Path) -> dict[str, Any]:
    """Distribution of every column; of the natural records, injected probes aside."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    labels: Counter[str] = Counter()
    probes = records = 0
    for row in read_shards(scored):
        rewrite = Rewrite.from_row(row)
        if rewrite.extras.get("probe"):
            probes += 1
            continue
        records += 1
        for name, value in rewrite.scores.items():
            if name == "nli":
                labels.update([nli_label(value)] if value else [])
            elif isinstance(value, list):
                found[name] += value
            elif value is not None:
                found[name].append(value)
    return {
        "records": records,
        "probes": probes,
        "columns": {name: _distribution(found[name]) for name in COLUMNS if name != "nli" and "_by_cut" not in name},
        "nli": dict(sorted(labels.items())),
    }


def _distribution(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"count": 0, "mean": None, "p05": None, "p50": None, "p95": None}
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else [values[0]] * 19
    return {
        "count": len(values),
        "mean": round(fmean(values), 4),
        "p05": round(cuts[0], 4),
        "p50": round(cuts[9], 4),
        "p95": round(cuts[18], 4),
    }
