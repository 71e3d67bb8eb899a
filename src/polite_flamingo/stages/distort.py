"""Stage ``distort`` (section 3.1): high-quality responses -> (drafted, revised) pairs."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from polite_flamingo.distort.base import Distortion
from polite_flamingo.distort.llm_rewrite import LlmRewrite
from polite_flamingo.distort.mix import HELD_OUT, TRAIN, assign, make_pairs, responses_of
from polite_flamingo.distort.retrieve_boxes import RetrieveBoxes
from polite_flamingo.distort.text_noise import TextNoise
from polite_flamingo.errors import DataError
from polite_flamingo.io import Row, count_shards, fingerprint, read_shards, resumable, write_json
from polite_flamingo.params import Params
from polite_flamingo.records import Sample
from polite_flamingo.rewrite.backends import Place
from polite_flamingo.rewrite.backends.completion import load_completer
from polite_flamingo.rewrite.backends.endpoint import EndpointOptions
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Read instruction samples, distort every response, write pairs and counts."""
    settings = params.distort
    samples = params.data / "samples" / "instruction"
    pairs = params.data / "pairs"
    place = Place(
        params.image_root,
        batch_size=params.runtime.generation_batch_size,
        device=params.runtime.device,
        dtype=params.runtime.dtype,
        endpoint=EndpointOptions(**params.runtime.endpoint.model_dump()),
        cache=Path(".work") / "answers",
    )
    completer = load_completer(params.distortion_backend, place, seed=params.seed)
    strategies: list[Distortion] = [
        LlmRewrite(completer, settings.llm_rewrite.command_probability),
        TextNoise(settings.text_noise.level_probability),
        RetrieveBoxes(settings.boxes.decimals),
    ]
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

    total = count_shards(samples)
    if total == 0:
        raise DataError("no instruction samples", where=samples, next_step="run `polite-flamingo download`")
    key = fingerprint(samples, settings.model_dump(), params.seed, completer.identity, _code())
    try:
        resumable(read_shards(samples), distort, out=pairs, key=key, total=total, label="distort")
    finally:
        completer.close()

    report = _count(params, strategies, samples, pairs)
    write_json(params.reports / "distort.json", report)
    tracker.params({"backend": params.distortion_backend, **settings.model_dump()})
    tracker.metrics({"pairs": report["pairs"], "train": report["train"], "held_out": report["held_out"]})
    logger.info("%s pairs from %s responses", report["pairs"], report["responses"])
    return report


def _count(params: Params, strategies: list[Distortion], samples: Path, pairs: Path) -> dict[str, Any]:
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
    import polite_flamingo.prompts
    import polite_flamingo.rewrite.backends

    return fingerprint(
        *(
            p
            for m in (polite_flamingo.distort, polite_flamingo.prompts, polite_flamingo.rewrite.backends)
            for p in sorted(Path(m.__path__[0]).glob("*.py"))
        )
    )
