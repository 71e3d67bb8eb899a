"""From responses to training pairs (section 3.1).

Each (response, strategy) has its own randomness, so order, batch size and the number of workers change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from random import Random

from polite_flamingo.distort.assign import Assign
from polite_flamingo.distort.base import Distortion, Response, responses_of
from polite_flamingo.records import RewritePair, Sample

HELD_OUT, TRAIN = "held_out", "train"


def split_of(sample_id: str, held_out_share: float, seed: int) -> str:
    """Split of a sample by the hash of its id: all pairs of one dialogue stay together, whatever else is in the set."""
    digest = hashlib.sha256(f"{seed}:{sample_id}:held_out".encode()).digest()
    return HELD_OUT if int.from_bytes(digest[:8], "big") / 2**64 < held_out_share else TRAIN


def rng_of(response: Response, strategy: Distortion, seed: int) -> Random:
    """The randomness of one (response, strategy)."""
    return Random(f"{seed}:{response.id}:{strategy.name}")


def make_pairs(
    samples: Iterable[Sample],
    strategies: Sequence[Distortion],
    assign: Assign,
    *,
    held_out_share: float,
    seed: int,
) -> list[RewritePair]:
    """Distort the responses of `samples` as `assign` says, one batch per strategy.

    Pairs whose draft is empty or equals the response are left out: there is nothing to learn from them.

    Returns:
        Pairs in the order of the samples, then turns, then `strategies`.
    """
    planned: list[tuple[Response, Distortion]] = [
        (response, strategy)
        for sample in samples
        for response in responses_of(sample)
        for strategy in assign(response, strategies)
    ]
    made: dict[int, RewritePair] = {}
    for strategy in strategies:
        places = [i for i, (_, chosen) in enumerate(planned) if chosen is strategy]
        batch = [planned[i][0] for i in places]
        if not batch:
            continue
        drafts = strategy.distort(batch, [rng_of(r, strategy, seed) for r in batch])
        for place, response, draft in zip(places, batch, drafts, strict=True):
            text = draft.text.strip()
            if text and text != response.text.strip():
                made[place] = RewritePair(
                    id=f"{response.id}/{strategy.name}",
                    sample_id=response.sample.id,
                    source=response.sample.source,
                    split=split_of(response.sample.id, held_out_share, seed),
                    task=response.sample.task,
                    instruction=response.instruction,
                    images=response.images,
                    drafted=text,
                    revised=response.text.strip(),
                    strategy=strategy.name,
                    command=draft.command,
                    seed=seed,
                )
    return [made[place] for place in sorted(made)]
