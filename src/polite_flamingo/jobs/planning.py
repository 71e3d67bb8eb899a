"""The plan of a run: which shards are finished, what is known of the others, and the calls that are left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from polite_flamingo.io.chunks import chunked
from polite_flamingo.jobs.executor import Call
from polite_flamingo.jobs.journal import Journal
from polite_flamingo.jobs.manifest import SealedEntry
from polite_flamingo.jobs.outcomes import BROKEN, Outcome
from polite_flamingo.jobs.questions import A, Input, Q
from polite_flamingo.jobs.units import Images, Unit, units


@dataclass(frozen=True, slots=True)
class SealedShard:
    """A shard an earlier run sealed."""

    entry: SealedEntry


@dataclass(frozen=True, slots=True)
class OpenShard(Generic[A]):
    """A shard with work left: its number of units, the place behind them, and what is known already."""

    shard: int
    size: int
    end: Sequence[int]
    restored: tuple[Outcome[A], ...]
    broken: tuple[Outcome[A], ...]


Planned = SealedShard | OpenShard[A] | Call[Q]


def plan(
    questions: Input[Q], journal: Journal[A], images: Images, identity: str, call_size: int
) -> Iterator[Planned[A, Q]]:
    """Cut the input into shards and what is left of them into calls of near-equal size, longest first.

    Where the manifest tells how far an earlier run came in this very input, the plan begins there, so that new work
    starts at once; the shards before are compared with the input, unit by unit, at the end.
    """
    known = journal.manifest.leading(questions.version)
    for shards, place in (range(len(known), _NO_END), known[-1].end if known else ()), (range(len(known)), ()):
        start = shards.start * journal.shard_size
        asked = units(questions.read(place) if shards else (), images=images, identity=identity, start=start)
        for shard, chunk in zip(shards, chunked(asked, journal.shard_size), strict=False):
            yield from _shard(shard, [unit for unit, _ in chunk], chunk[-1][1], journal, images, call_size)


_NO_END = 2**62


def _shard(
    shard: int, chunk: Sequence[Unit[Q]], end: Sequence[int], journal: Journal[A], images: Images, call_size: int
) -> Iterator[Planned[A, Q]]:
    keys = [unit.key for unit in chunk]
    if journal.sealed(shard, keys):
        yield SealedShard(journal.manifest.entries[shard])
        return
    restored = journal.restore(shard, keys)
    left = [unit for unit in chunk if unit.key not in restored]
    problems = images.check([unit.question for unit in left])
    yield OpenShard(
        shard,
        len(chunk),
        end,
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
