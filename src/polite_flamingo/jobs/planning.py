"""The plan of a run: which shards are finished, what is known of the others, and the calls that are left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic

from polite_flamingo.io import chunked
from polite_flamingo.jobs.executor import Call
from polite_flamingo.jobs.journal import Journal
from polite_flamingo.jobs.outcomes import BROKEN, Outcome
from polite_flamingo.jobs.questions import A, Q
from polite_flamingo.jobs.units import Images, units


@dataclass(frozen=True, slots=True)
class SealedShard(Generic[A]):
    """A shard an earlier run sealed."""

    shard: int
    outcomes: tuple[Outcome[A], ...]


@dataclass(frozen=True, slots=True)
class OpenShard(Generic[A]):
    """A shard with work left: its number of units and what is known already."""

    shard: int
    size: int
    restored: tuple[Outcome[A], ...]
    broken: tuple[Outcome[A], ...]


def plan(
    questions: Iterable[Q], journal: Journal[A], images: Images, identity: str, call_size: int
) -> Iterator[SealedShard[A] | OpenShard[A] | Call[Q]]:
    """Cut the input into shards and what is left of them into calls of near-equal size, longest first."""
    shards = chunked(units(questions, images=images, identity=identity), journal.shard_size)
    for shard, chunk in enumerate(shards):
        keys = [unit.key for unit in chunk]
        if journal.sealed(shard, keys):
            yield SealedShard(shard, tuple(journal.read(shard)))
            continue
        restored = journal.restore(shard, keys)
        left = [unit for unit in chunk if unit.key not in restored]
        problems = images.check([unit.question for unit in left])
        yield OpenShard(
            shard,
            len(chunk),
            # equal records with equal images have equal keys, so one outcome may stand at several positions
            tuple(replace(restored[unit.key], index=unit.index) for unit in chunk if unit.key in restored),
            tuple(
                Outcome(unit.index, unit.key, unit.question.key, status=BROKEN, reason=problem)
                for unit, problem in zip(left, problems, strict=True)
                if problem is not None
            ),
        )
        usable = [unit for unit, problem in zip(left, problems, strict=True) if problem is None]
        usable.sort(key=lambda unit: (-unit.question.size, unit.index))
        for group in chunked(usable, call_size):
            yield Call(shard, tuple(group))
