"""Figure 6: the reward of PF-1M, raw and rewritten, beside the responses of other instruction sets.

The sets are those the profile trains on (role ``instruction``) and those it names for this alone (role ``evaluation``
with ``reward_only``). Of a dialogue the first response counts.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from polite_flamingo.evaluate.bootstrap import mean_over_sets
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import Row
from polite_flamingo.records import Rewrite, Sample

MOST = 1000  # responses of a set; those with the smallest hash of seed and id
PF1M_RAW, PF1M = "PF-1M raw", "PF-1M"


def draw_responses(folder: Path, others: Sequence[Sample], seed: int) -> list[Sample]:
    """At most `MOST` samples of each instruction set, by set and id.

    Args:
        folder: Shards of the instruction samples.
        others: Samples of the sets that are not trained on.
        seed: The run's seed.
    """

    def trained(*columns: str) -> Iterator[Row]:
        return read_shards(folder, list(columns) or None) if folder.is_dir() else iter(())

    ids = ((row["source"], row["id"]) for row in trained("source", "id"))
    chosen = _chosen(chain(ids, ((sample.source, sample.id) for sample in others)), seed)
    whole = (Sample.from_row(row) for row in trained() if row["id"] in chosen)
    drawn = chain(whole, (sample for sample in others if sample.id in chosen))
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


def _chosen(samples: Iterable[tuple[str, str]], seed: int) -> set[str]:
    """Ids of the `MOST` samples of each source with the smallest hash; no others are held."""
    sources: dict[str, list[tuple[int, str]]] = {}
    for source, key in samples:
        held = sources.setdefault(source, [])
        rank = int.from_bytes(hashlib.sha256(f"{seed}:{key}:reward".encode()).digest()[:8])
        (heapq.heappush if len(held) < MOST else heapq.heappushpop)(held, (-rank, key))
    return {key for held in sources.values() for _, key in held}
