"""Figure 6: the reward of PF-1M, raw and rewritten, beside the responses of other instruction sets.

The sets are those the profile trains on (role ``instruction``) and those it names for this alone (role ``evaluation``
with ``reward_only``). Of a dialogue the first response counts.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from polite_flamingo.evaluate.bootstrap import mean_over_sets
from polite_flamingo.io import read_shards
from polite_flamingo.records import Rewrite, Sample

MOST = 1000  # responses of a set; those with the smallest hash of seed and id
PF1M_RAW, PF1M = "PF-1M raw", "PF-1M"


def draw_responses(folder: Path, others: Iterable[Sample], seed: int) -> list[Sample]:
    """At most `MOST` samples of each instruction set, by set and id.

    Args:
        folder: Shards of the instruction samples.
        others: Samples of the sets that are not trained on.
        seed: The run's seed.
    """
    ids: dict[str, list[str]] = {}
    for row in read_shards(folder, ["id", "source"]) if folder.is_dir() else ():
        ids.setdefault(row["source"], []).append(row["id"])
    chosen = {key for own in ids.values() for key in _smallest(own, seed)}
    drawn = [Sample.from_row(row) for row in read_shards(folder) if row["id"] in chosen] if chosen else []
    more: dict[str, dict[str, Sample]] = {}
    for sample in others:
        more.setdefault(sample.source, {})[sample.id] = sample
    drawn += [own[key] for own in more.values() for key in _smallest(own, seed)]
    return sorted(drawn, key=lambda sample: (sample.source, sample.id))


def response_rewards(responses: Sequence[Rewrite], kept: Path, scored: Path) -> dict[str, list[float]]:
    """Rewards of PF-1M and of each instruction set, the lowest median first as in Figure 6.

    Args:
        responses: Judged responses of instruction sets.
        kept: Shards of PF-1M, which hold no scores; where that stage has not run, PF-1M is left out.
        scored: Shards of all scored rewrites.
    """
    rewards: dict[str, list[float]] = {}
    if kept.is_dir():
        ids = {row["id"] for row in read_shards(kept, ["id"])}
        for row in (row for row in read_shards(scored, ["id", "scores"]) if row["id"] in ids):
            scores = json.loads(row["scores"])
            for name, column in ((PF1M_RAW, "reward_raw"), (PF1M, "reward")):
                if scores.get(column) is not None:
                    rewards.setdefault(name, []).append(float(scores[column]))
    for response in responses:
        rewards.setdefault(response.source, []).append(float(response.scores["reward"]))
    return dict(sorted(rewards.items(), key=lambda item: median(item[1])))


def summarise(rewards: Mapping[str, Sequence[float]], *, resamples: int, seed: int) -> dict[str, Any]:
    """For evaluate.json: mean with its interval, and median, of each set.

    Args:
        rewards: Set -> rewards.
        resamples: Bootstrap resamples.
        seed: The run's seed.
    """
    return {
        name: {
            **mean_over_sets({name: values}, resamples=resamples, seed=seed, purpose="responses").to_json(),
            "median": round(median(values), 6),
        }
        for name, values in rewards.items()
    }


def _smallest(ids: Iterable[str], seed: int) -> list[str]:
    return heapq.nsmallest(MOST, ids, key=lambda key: hashlib.sha256(f"{seed}:{key}:reward".encode()).digest())
