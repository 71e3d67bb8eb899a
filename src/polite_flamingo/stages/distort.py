"""Stage ``distort`` (section 3.1): high-quality responses -> (drafted, revised) pairs.

Reads  : data/P/samples/instruction.
Writes : data/P/pairs (its ``quarantine.jsonl`` names responses a model had no draft for), reports/P/distort.json.

Where a language model makes the terse drafts, the engine asks it first (resumable by call, on one machine or a
cluster); the pairs are then made from its journal.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polite_flamingo.distort.assign import Draw, assignment
from polite_flamingo.distort.counts import count_pairs
from polite_flamingo.distort.drafts import TERSE_RULES, Drafting, NoDrafts, draft_questions, write_drafts
from polite_flamingo.distort.llm_rewrite import Completer
from polite_flamingo.distort.mix import make_pairs
from polite_flamingo.distort.strategies import strategies
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.io.chunks import resumable
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import count_shards, read_shards
from polite_flamingo.io.text import Row, write_json, write_jsonl
from polite_flamingo.jobs.backends.load import backend_options
from polite_flamingo.params.schema import Params
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Sample
from polite_flamingo.tracking.base import Tracker

LOG = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Read instruction samples, distort every response, write pairs and counts.

    Raises:
        ConfigError: ``distortion_backend`` is unknown, or ``distort.counts`` names none of the sources.
        DataError: there is no instruction sample.
        QualityError: a model left more than ``quality.max_rejected_share`` of its responses without a draft.
    """
    settings = params.distort
    samples = params.data / "samples" / "instruction"
    pairs = params.data / "pairs"
    total = count_shards(samples) if samples.is_dir() else 0
    if total == 0:
        raise DataError("no instruction samples", where=samples, next_step="run `polite-flamingo download`")
    # Unfinished work stays outside the published folder until that is complete.
    journal = Path(".work") / f"distort-{params.profile}" / "journal"
    assign = assignment(lambda: _read(samples), settings, params.seed)
    drafting = None
    if params.distortion_backend != TERSE_RULES:
        drafting = write_drafts(
            lambda: draft_questions(_read(samples), strategies(settings, NoDrafts()), assign, seed=params.seed),
            params.distortion_backend,
            backend_options(params.runtime, params.image_root, params.models),
            journal,
            seed=params.seed,
            report=tracker.metrics,
        )
        _check_lost(drafting, params.quality.max_rejected_share)
    completer: Completer = TerseRules() if drafting is None else drafting.drafts
    in_use = strategies(settings, completer)

    def distort(chunk: list[Row]) -> list[Row]:
        rows = map(Sample.from_row, chunk)
        made = make_pairs(rows, in_use, assign, held_out_share=settings.held_out_share, seed=params.seed)
        return [pair.to_row() for pair in made]

    key = fingerprint(samples, settings.model_dump(), params.seed, completer.identity, _code())
    resumable(read_shards(samples), distort, out=pairs, key=key, total=total, label="distort")
    if drafting is not None and drafting.lost:
        write_jsonl(pairs / "quarantine.jsonl", (reject.to_row() for reject in drafting.lost))

    rows = read_shards(pairs, ["strategy", "split", "command"])
    report = {"backend": params.distortion_backend, **count_pairs(_read(samples), rows, in_use, assign)}
    report["draw"] = [asdict(line) for line in assign.lines] if isinstance(assign, Draw) else []
    report["drafts"] = {
        "asked": drafting.questions if drafting else 0,
        "lost": len(drafting.lost) if drafting else 0,
        "tokens": drafting.tokens if drafting else 0,
    }
    write_json(params.reports / "distort.json", report)
    tracker.params({"backend": params.distortion_backend, **settings.model_dump()})
    tracker.metrics({"pairs": report["pairs"], "train": report["train"], "held_out": report["held_out"]})
    LOG.info("%s pairs from %s responses", report["pairs"], report["responses"])
    shutil.rmtree(journal.parent, ignore_errors=True)
    return report


def _read(samples: Path) -> Iterator[Sample]:
    return map(Sample.from_row, read_shards(samples))


def _check_lost(drafting: Drafting, max_share: float) -> None:
    lost = drafting.lost
    if len(lost) > max_share * drafting.questions:
        raise QualityError(
            f"{len(lost)} of {drafting.questions} responses got no draft",
            value=Reasons(lost).lines(),
            where="distortion_backend",
            next_step="repair what the reasons name or raise quality.max_rejected_share; finished drafts are kept",
        )


def _code() -> str:
    """Content hash of the distortion code: an edited rule never resumes from another rule's work."""
    import polite_flamingo.distort
    import polite_flamingo.prompts

    modules = (polite_flamingo.distort, polite_flamingo.prompts)
    return fingerprint(*(path for m in modules for path in sorted(Path(m.__path__[0]).rglob("*.py"))))
