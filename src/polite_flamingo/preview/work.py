"""The stages `rewrite`, `score` and `filter` on a few records, in a folder that goes away; nothing is recorded.

What is done is what the stages do, with the same jobs; measured meanwhile is what a record costs.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError, QualityError
from polite_flamingo.filter.decisions import FOLDER as DECISIONS
from polite_flamingo.filter.decisions import decision_row, record_row, schema
from polite_flamingo.filter.sets import judge_sets
from polite_flamingo.filter.table import FOLDER as TABLE
from polite_flamingo.filter.table import write_table
from polite_flamingo.io.shards import ShardWriter, write_shards
from polite_flamingo.io.text import Row
from polite_flamingo.jobs.backends.endpoint import EndpointBackend
from polite_flamingo.jobs.backends.load import backend_options, make_backend
from polite_flamingo.jobs.backends.text import TextBackend, as_it_is
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.model.settings import NONE, GenerationSettings
from polite_flamingo.params.schema import Params
from polite_flamingo.prompts.rewriting import load_prompts
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Reject, Rewrite, Sample
from polite_flamingo.rewrite.job import RewritingJob
from polite_flamingo.rewrite.repair import RepairingBackend
from polite_flamingo.scorers.backend import ScorerBackend
from polite_flamingo.scorers.job import ScoringJob
from polite_flamingo.scorers.judge import JudgingBackend, JudgingJob
from polite_flamingo.scorers.load import SCORERS, Recipe, scorer_folders
from polite_flamingo.stages.filter import decided
from polite_flamingo.stages.score import judging_job

FETCHED = "hub:"  # origins that are gigabytes: a preview does not fetch them


@dataclass(frozen=True, slots=True)
class Spent:
    """What the answers of a model took.

    Args:
        answers: Answers, those that had to be asked for again included.
        tokens_in: Prompt tokens of an answer, images included, as the endpoint counts them; None: nobody does.
        tokens_out: Tokens generated for an answer.
        rate: Answers per second of a run; None: all came from the cache, so nothing was timed.
        cached: Answers that came from the cache.
    """

    answers: int
    tokens_in: float | None
    tokens_out: float
    rate: float | None
    cached: int = 0


@dataclass(slots=True)
class Measures:
    """What the records cost.

    Args:
        spent: What generates text (``rewrite``, ``judge``) -> what its answers took.
        records: Records rewritten.
        score_rates: Scorer -> records per second, loading aside.
        sizes: Kind of output -> bytes per record, compressed.
    """

    spent: dict[str, Spent] = field(default_factory=dict)
    records: int = 0
    score_rates: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Previewed:
    """What became of the records.

    Args:
        rows: The rewrites with their rows of the decision table.
        lost: Records without an answer.
        unscored: Scorers whose models are not on this machine yet.
        sets: What the filters of whole sources report.
        measures: What it cost.
    """

    rows: list[tuple[Rewrite, Row]]
    lost: list[Reject]
    unscored: list[str]
    sets: Mapping[str, Any]
    measures: Measures


def run_preview(params: Params, samples: Sequence[Sample], folder: Path) -> Previewed:
    """Rewrite, score and filter records below `folder`, where ``pf1m`` is as the stage `filter` leaves it.

    Answers of an endpoint are kept in ``.work/answers``, as in a run, which so buys none of them again.

    Raises:
        ConfigError: the rewriter is one to be trained, and has not been.
        ModelError: a model cannot be used, or an endpoint does not answer.
        QualityError: no record got an answer.
    """
    measures = Measures()
    lost = _rewrite(params, samples, folder, measures)
    unscored = _score(params, folder, measures)
    sets = judge_sets(folder / "scored" / TABLE, params.filter)
    rows: list[tuple[Rewrite, Row]] = []
    pf1m = folder / "pf1m"
    with (
        ShardWriter(pf1m / "kept") as kept,
        ShardWriter(pf1m / "rejected") as rejected,
        ShardWriter(pf1m / DECISIONS, schema()) as decisions,
    ):
        for rewrite, decision in decided(folder / "scored", params.filter, sets):
            row = decision_row(rewrite, decision)
            rows.append((rewrite, row))
            decisions.write(row)
            (kept if decision.kept else rejected).write(record_row(decision))
    measures.sizes["pf1m_bytes"] = _size([row for _, row in rows]) + 2 * measures.sizes["rewrites_bytes"]
    return Previewed(rows, lost, unscored, sets.report, measures)


def _rewrite(params: Params, samples: Sequence[Sample], folder: Path, measures: Measures) -> list[Reject]:
    write_shards(folder / "samples", (sample.to_row() for sample in samples))
    options = backend_options(params.runtime, params.image_root, params.models)
    prompts = None if params.asks_flamingo else load_prompts(params.rewriting.style)
    job = RewritingJob(folder / "samples", len(samples), folder / "journal", options, prompts)
    if params.trains_rewriter and not (params.models / "rewriter").is_dir():
        raise ConfigError(
            "the rewriter has not been trained yet",
            where=params.models / "rewriter",
            next_step="polite-flamingo run --until train_rewriter; or name one that comes ready (docs/backends.md)",
        )
    settings = GenerationSettings.of(params.generation, seed=params.seed)
    backend = _loaded(make_backend(params.rewriter_backend, settings, options, as_it_is))
    with closing(LocalExecutor(RepairingBackend(backend, params.repair))) as executor:
        started = time.monotonic()
        job.run_with(executor)
        seconds = time.monotonic() - started
    answered = list(job.rewrites())
    lost = list(job.lost())
    if not answered:
        raise QualityError(
            "no record got an answer",
            value=Reasons(lost).lines(),
            where=params.rewriter_backend,
            next_step="see that this address and model answer a chat completion with text, e.g. by curl",
        )
    rows = [rewrite.to_row() for rewrite, _ in answered]
    write_shards(folder / "rewrites", rows)
    measures.records = len(answered)
    answers = sum(1 + answer.attempts for _, answer in answered)
    measures.spent["rewrite"] = _spent(params, backend, answers, sum(a.tokens for _, a in answered), seconds)
    measures.sizes |= {"samples_bytes": _size([s.to_row() for s in samples]), "rewrites_bytes": _size(rows)}
    return lost


def _judge(params: Params, folder: Path, measures: Measures) -> JudgingJob:
    job = judging_job(params, folder / "rewrites", folder / "judge")
    if params.score.judge.backend is not None:
        backend = _loaded(make_backend(params.score.judge.backend, job.decoding, job.asking, as_it_is))
        with closing(LocalExecutor(JudgingBackend(backend, params.score.judge.attempts))) as executor:
            started = time.monotonic()
            job.run_with(executor)
            seconds = time.monotonic() - started
        counts = job.counts() or {}
        if counts["asked"]:
            measures.spent["judge"] = _spent(params, backend, counts["asked"], counts["tokens"], seconds)
    return job


def _loaded(backend: TextBackend) -> TextBackend:
    """The backend with its weights in memory, so that what is timed afterwards are answers."""
    for name in ("model", "bundle"):  # of the Hugging Face backend and of the Flamingo: loaded when first asked for
        getattr(backend, name, None)
    return backend


def _spent(params: Params, backend: TextBackend, answers: int, tokens: int, seconds: float) -> Spent:
    if not isinstance(backend, EndpointBackend):
        return Spent(answers, None, tokens / answers, answers / seconds)
    usage = backend.usage
    counted = usage.answered + usage.cached
    tokens_in = usage.prompt_tokens + usage.cached_prompt_tokens
    concurrency = params.runtime.endpoint.concurrency
    return Spent(
        max(answers, counted),
        tokens_in / counted if tokens_in else None,
        (usage.completion_tokens + usage.cached_completion_tokens) / counted if counted else 0.0,
        concurrency * usage.answered / usage.seconds if usage.answered else None,
        usage.cached,
    )


def _score(params: Params, folder: Path, measures: Measures) -> list[str]:
    """Write the scored records and their table; returns the scorers that were left out."""
    origins = params.backbones.model_dump()
    named = [name for name in SCORERS if origins[name] != NONE]
    absent = [
        name
        for name in named
        if origins[name].startswith(FETCHED) and not (params.models / "backbones" / name).is_dir()
    ]
    present = [name for name in named if name not in absent]
    folders = scorer_folders(present, {}, origins, params.models)
    job = ScoringJob(folder / "rewrites", present, folder / "journals", params.image_root, params.runtime.threads)
    for name, model in folders.items():
        recipe = Recipe(name, model, params.image_root.resolve(), params.score.clip_mode, params.runtime, "preview")
        scorer = recipe.load()
        with closing(LocalExecutor(ScorerBackend(lambda scorer=scorer: scorer, recipe.identity))) as executor:  # type: ignore[misc]
            started = time.monotonic()
            asked = max(job.run(column, executor).computed for column in job.columns(name))
        if asked:
            measures.score_rates[name] = asked / (time.monotonic() - started)
    records = list(job.scored(_judge(params, folder, measures).columns()))
    scored = [record for record in records if isinstance(record, Rewrite)]
    if not scored:
        reasons = Reasons(record for record in records if isinstance(record, Reject)).lines()
        raise QualityError("no record could be scored", value=reasons, where=params.image_root)
    rows = [record.to_row() for record in scored]
    write_shards(folder / "scored", rows)
    write_table(scored, folder / "scored" / TABLE)
    measures.sizes["scored_bytes"] = _size(rows)
    return absent


def _size(rows: Sequence[Row]) -> float:
    """Bytes of a row, compressed together with the others as far as so few allow: an upper bound."""
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return len(zlib.compress(text.encode())) / max(len(rows), 1)
