"""From responses to training pairs: which strategy makes which draft (section 3.1, Figure 4).

``weighted`` draws one applicable strategy per response with the paper's proportions, ``all`` uses every applicable one
(for corpora far smaller than the paper's). Each (response, strategy) has its own randomness, so order, batch size and
the number of workers change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from polite_flamingo.distort.base import Distortion, Response
from polite_flamingo.errors import ConfigError
from polite_flamingo.records import RewritePair, Sample

HELD_OUT, TRAIN = "held_out", "train"


def responses_of(sample: Sample) -> list[Response]:
    """Every assistant turn of a dialogue."""
    return [Response(sample, index) for index in range(len(sample.turns) // 2)]


def split_of(sample_id: str, held_out_share: float, seed: int) -> str:
    """Split of a sample by the hash of its id: all pairs of one dialogue stay together, whatever else is in the set."""
    digest = hashlib.sha256(f"{seed}:{sample_id}:held_out".encode()).digest()
    return HELD_OUT if int.from_bytes(digest[:8], "big") / 2**64 < held_out_share else TRAIN


def assign(
    response: Response, strategies: Sequence[Distortion], assignment: str, weights: Mapping[str, float], seed: int
) -> list[Distortion]:
    """Strategies that distort `response`.

    Args:
        response: The answer to distort.
        strategies: All that are in use.
        assignment: ``weighted`` or ``all``.
        weights: Relative frequency per strategy name; renormalised over those that apply. Ignored by ``all``.
        seed: Run's seed.
    """
    usable = [s for s in strategies if s.applies(response)]
    if assignment == "all":
        return usable
    if assignment != "weighted":
        raise ConfigError(
            "unknown assignment", value=assignment, where="distort.assignment", next_step="weighted or all"
        )
    usable = [s for s in usable if weights[s.name] > 0]
    if not usable:
        return []
    rng = Random(f"{seed}:{response.id}:assign")
    return rng.choices(usable, [weights[s.name] for s in usable])


def rng_of(response: Response, strategy: Distortion, seed: int) -> Random:
    """The randomness of one (response, strategy)."""
    return Random(f"{seed}:{response.id}:{strategy.name}")


def make_pairs(
    samples: Iterable[Sample],
    strategies: Sequence[Distortion],
    *,
    assignment: str,
    weights: Mapping[str, float],
    held_out_share: float,
    seed: int,
) -> list[RewritePair]:
    """Distort every response of `samples`, one batch per strategy.

    Pairs whose draft is empty or equals the response are left out: there is nothing to learn from them.

    Returns:
        Pairs in the order of the samples, then turns, then `strategies`.
    """
    planned: list[tuple[Response, Distortion]] = [
        (response, strategy)
        for sample in samples
        for response in responses_of(sample)
        for strategy in assign(response, strategies, assignment, weights, seed)
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
