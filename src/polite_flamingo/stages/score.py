"""Stage ``score`` (section 3.3): every scorer writes its column about every rewrite; nothing is decided here."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.filter.table import FOLDER as TABLE
from polite_flamingo.filter.table import write_table
from polite_flamingo.io import Row, count_shards, fingerprint, read_shards, resumable, write_json
from polite_flamingo.params import Params
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.checks import Checker, checker_of
from polite_flamingo.scorers.clip import load_clip
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.nli import load_nli, nli_label
from polite_flamingo.scorers.reward import load_reward
from polite_flamingo.scorers.rouge import RougeScorer
from polite_flamingo.scorers.sts import load_sts
from polite_flamingo.scorers.text import cut_texts, text_scores
from polite_flamingo.tracking.base import Tracker

logger = logging.getLogger(__name__)

ABSENT = "none"  # a profile's `backbones` entry for a scorer it goes without
SCORERS = ("sts", "nli", "clip", "reward")
CHUNK = 256

Column = Callable[..., Sequence[Any]]


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Read rewrites, add scores, write them and their distribution."""
    rewrites = params.data / "rewrites"
    scored = params.data / "scored"
    folders = {
        name: params.models / "backbones" / name for name in SCORERS if getattr(params.backbones, name) != ABSENT
    }
    total = count_shards(rewrites)
    if total == 0:
        raise DataError("no rewrites", where=rewrites, next_step="run `polite-flamingo rewrite`")
    columns = load_columns(
        folders,
        image_root=params.image_root,
        clip_mode=params.score.clip_mode,
        device=params.runtime.device,
    )

    checker = checker_of(lambda: map(Rewrite.from_row, read_shards(rewrites)))

    def score(chunk: list[Row]) -> list[Row]:
        return [r.to_row() for r in add_scores([Rewrite.from_row(row) for row in chunk], columns, checker)]

    key = fingerprint(
        rewrites,
        {name: fingerprint(folder) for name, folder in folders.items()},
        params.score.model_dump(),
        _code(),
    )
    resumable(read_shards(rewrites), score, out=scored, key=key, chunk_size=CHUNK, total=total, label="score")
    write_table(map(Rewrite.from_row, read_shards(scored)), scored / TABLE)

    report = summarise(scored)
    report["absent"] = sorted(set(SCORERS) - set(folders))
    write_json(params.reports / "score.json", report)
    tracker.params({"clip_mode": params.score.clip_mode, "absent": report["absent"]})
    tracker.metrics({f"{column}_mean": value["mean"] for column, value in report["columns"].items() if value["count"]})
    return report


def load_columns(folders: Mapping[str, Path], *, image_root: Path, clip_mode: str, device: str) -> dict[str, Column]:
    """Scorers by column name; a scorer without a folder is left out, its columns will be None."""
    columns: dict[str, Column] = {"rouge_l": RougeScorer().score}
    if "sts" in folders:
        columns["sts_by_cut"] = load_sts(folders["sts"], device=device).score_cuts
    if "nli" in folders:
        columns["nli"] = load_nli(folders["nli"], device=device).score
    if "clip" in folders:
        columns["clip_logits"] = load_clip(folders["clip"], image_root=image_root, device=device, mode=clip_mode).score
    if "reward" in folders:
        reward = load_reward(folders["reward"], device=device)
        columns["reward"], columns["reward_raw"] = reward.score, reward.score_raw
    return columns


def add_scores(
    rewrites: Sequence[Rewrite], columns: Mapping[str, Column], checker: Checker | None = None
) -> list[Rewrite]:
    """Rewrites with all of `COLUMNS`, in their order; the CLIP logits come first, because they say what is cut."""
    values = {name: score(rewrites) for name, score in columns.items() if name != "sts_by_cut"}
    logits = values.get("clip_logits", [None] * len(rewrites))
    texts = [cut_texts(rewrite, found) for rewrite, found in zip(rewrites, logits, strict=True)]
    similar: Sequence[Any] = (
        columns["sts_by_cut"](rewrites, texts) if "sts_by_cut" in columns else [None] * len(rewrites)
    )
    scored = []
    for i, rewrite in enumerate(rewrites):
        found = {name: column[i] for name, column in values.items()} | text_scores(rewrite, texts[i])
        if checker is not None:
            found |= checker.score(rewrite, texts[i])
        if similar[i] is not None:
            found |= {"sts": similar[i][0], "sts_by_cut": similar[i] if texts[i] else None}
        scored.append(rewrite.with_scores(**{name: found.get(name) for name in COLUMNS}))
    return scored


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


def _code() -> str:
    import polite_flamingo.scorers

    return fingerprint(*sorted(Path(polite_flamingo.scorers.__path__[0]).glob("*.py")))
