"""Stage ``distort`` (section 3.1): high-quality responses -> (drafted, revised) pairs.

Reads  : data/P/samples/instruction.
Writes : data/P/pairs (its ``quarantine.jsonl`` names responses a model had no draft for), reports/P/distort.json.

Where a language model makes the terse drafts, the rewriting engine asks it first (resumable by call, on one machine or
a cluster); the pairs are then made from its journal.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.distort.base import Distortion
from polite_flamingo.distort.drafts import FORMS, TERSE_RULES, Drafts, NoDrafts, draft_requests, draft_settings
from polite_flamingo.distort.llm_rewrite import Completer, LlmRewrite
from polite_flamingo.distort.mix import HELD_OUT, TRAIN, assign, make_pairs, responses_of
from polite_flamingo.distort.retrieve_boxes import RetrieveBoxes
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.distort.text_noise import TextNoise
from polite_flamingo.errors import ConfigError, DataError, QualityError
from polite_flamingo.io import Row, count_shards, fingerprint, read_shards, resumable, write_json, write_jsonl
from polite_flamingo.jobs import engine
from polite_flamingo.jobs.backends.load import FLAMINGO
from polite_flamingo.jobs.executors import make_executor
from polite_flamingo.params import Params
from polite_flamingo.records import Reject, Sample
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Read instruction samples, distort every response, write pairs and counts.

    Raises:
        ConfigError: ``distortion_backend`` is unknown.
        DataError: there is no instruction sample.
        QualityError: a model left more than ``quality.max_rejected_share`` of its responses without a draft.
    """
    settings = params.distort
    samples = params.data / "samples" / "instruction"
    pairs = params.data / "pairs"
    total = count_shards(samples) if samples.is_dir() else 0
    if total == 0:
        raise DataError("no instruction samples", where=samples, next_step="run `polite-flamingo download`")
    # Unfinished work keeps its own place until the published folder is complete.
    journal = Path(".work") / f"distort-{params.profile}" / "journal"
    asked = _Asked()
    completer: Completer = TerseRules()
    if params.distortion_backend != TERSE_RULES:
        completer = _ask_model(params, tracker, samples, journal, asked)
    strategies = _strategies(params, completer)
    weights = settings.weights.model_dump()

    def distort(chunk: list[Row]) -> list[Row]:
        made = make_pairs(
            (Sample.from_row(row) for row in chunk),
            strategies,
            assignment=settings.assignment,
            weights=weights,
            held_out_share=settings.held_out_share,
            seed=params.seed,
        )
        return [pair.to_row() for pair in made]

    key = fingerprint(samples, settings.model_dump(), params.seed, completer.identity, _code())
    resumable(read_shards(samples), distort, out=pairs, key=key, total=total, label="distort")
    if asked.lost:
        write_jsonl(pairs / "quarantine.jsonl", asked.lost)

    report = _count(params, strategies, samples, pairs)
    report["drafts"] = {"asked": asked.requests, "lost": len(asked.lost), "tokens": asked.tokens}
    write_json(params.reports / "distort.json", report)
    tracker.params({"backend": params.distortion_backend, **settings.model_dump()})
    tracker.metrics({"pairs": report["pairs"], "train": report["train"], "held_out": report["held_out"]})
    logger.info("%s pairs from %s responses", report["pairs"], report["responses"])
    shutil.rmtree(journal.parent, ignore_errors=True)
    return report


@dataclass(slots=True)
class _Asked:
    """What a model was asked: requests, tokens of its answers, and the responses it had no draft for."""

    requests: int = 0
    tokens: int = 0
    lost: list[Row] = field(default_factory=list)


def _ask_model(params: Params, tracker: Tracker, samples: Path, journal: Path, asked: _Asked) -> Drafts:
    """Let the engine write a draft of every response that the LLM-instructed strategy takes."""
    settings = params.distort

    def requests() -> Iterator[engine.Request]:
        return draft_requests(
            (Sample.from_row(row) for row in read_shards(samples)),
            _strategies(params, NoDrafts()),
            assignment=settings.assignment,
            weights=settings.weights.model_dump(),
            seed=params.seed,
        )

    asked.requests = sum(1 for _ in requests())
    executor = _executor(params)
    try:
        done = engine.run(
            requests(),
            executor,
            journal=journal,
            image_root=params.image_root,
            total=asked.requests,
            label="drafts",
            tracker=tracker,
            image_threads=params.runtime.threads,
        )
    finally:
        executor.close()
    logger.info("%d drafts, %d of them by an earlier run", done.done, done.restored)
    for outcome in engine.outcomes(journal):
        asked.tokens += outcome.tokens
        if not outcome.answered:
            lost = Reject("distort", "samples/instruction", outcome.id, outcome.finish_reason)
            asked.lost.append(lost.to_row())
    if len(asked.lost) > params.quality.max_rejected_share * asked.requests:
        raise QualityError(
            f"{len(asked.lost)} of {asked.requests} responses got no draft",
            value=[f"{row['row']}: {row['reason']}" for row in asked.lost[:5]],
            where="distortion_backend",
            next_step="repair what the reasons name or raise quality.max_rejected_share; finished drafts are kept",
        )
    return Drafts(journal, fingerprint(executor.identity, *sorted(journal.glob("part-*.parquet"))))


def _executor(params: Params) -> engine.Executor:
    spec = params.distortion_backend
    if spec == FLAMINGO:
        raise ConfigError(
            "the Flamingo rewriter cannot distort", value=spec, where="distortion_backend", next_step=f"one of: {FORMS}"
        )
    try:
        return make_executor(params, spec, draft_settings(params.seed))
    except ConfigError as error:
        raise ConfigError(
            error.what, value=error.value, where="distortion_backend", next_step=f"one of: {FORMS}"
        ) from None


def _strategies(params: Params, completer: Completer) -> Sequence[Distortion]:
    settings = params.distort
    return (
        LlmRewrite(completer, settings.llm_rewrite.command_probability),
        TextNoise(settings.text_noise.level_probability),
        RetrieveBoxes(settings.boxes.decimals),
    )


def _count(params: Params, strategies: Sequence[Distortion], samples: Path, pairs: Path) -> dict[str, Any]:
    """Counts from what was read and written alone, so that a resumed run reports the same."""
    weights = params.distort.weights.model_dump()
    planned: Counter[str] = Counter()
    responses = 0
    for row in read_shards(samples):
        for response in responses_of(Sample.from_row(row)):
            responses += 1
            planned.update(
                s.name for s in assign(response, strategies, params.distort.assignment, weights, params.seed)
            )
    made: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    for row in read_shards(pairs, ["strategy", "split", "command"]):
        made[row["strategy"]] += 1
        splits[row["split"]] += 1
        if row["command"]:
            commands[row["command"]] += 1
    return {
        "backend": params.distortion_backend,
        "samples": count_shards(samples),
        "responses": responses,
        "pairs": sum(made.values()),
        "train": splits[TRAIN],
        "held_out": splits[HELD_OUT],
        "strategies": {
            s.name: {
                "planned": planned[s.name],
                "made": made[s.name],
                "skipped_empty_or_unchanged": planned[s.name] - made[s.name],
            }
            for s in strategies
        },
        "commands": dict(sorted(commands.items())),
    }


def _code() -> str:
    """Content hash of the distortion code: an edited rule never resumes from another rule's work."""
    import polite_flamingo.distort
    import polite_flamingo.jobs
    import polite_flamingo.prompts

    modules = (polite_flamingo.distort, polite_flamingo.prompts, polite_flamingo.jobs)
    return fingerprint(*(path for m in modules for path in sorted(Path(m.__path__[0]).rglob("*.py"))))
