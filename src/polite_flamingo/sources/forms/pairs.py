"""What the readers of change captioning share: two images, sentences on what differs, and ids that repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.prompts.requests import draw_request
from polite_flamingo.records import Image, Sample, Task
from polite_flamingo.sources.base import Source, single_turn


class Ids:
    """Makes official ids unique: a repeated one gets ``-2``, ``-3`` … in the order of the file.

    The ids of one split are held in memory.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def unique(self, official: str) -> str:
        """`official`, or with the first number that is free."""
        name, count = official, 1
        while name in self._seen:
            count += 1
            name = f"{official}-{count}"
        self._seen.add(name)
        return name


def pair_sample(
    source: Source,
    split: str,
    pair_id: str,
    pool: Sequence[str],
    images: tuple[Image, Image],
    sentences: list[str],
    seed: int,
    **extras: Any,
) -> Sample:
    """The sample of two images, first image first, its sentences on a line each."""
    sample_id = f"{source.name}/{split}/{pair_id}"
    request = draw_request(pool, seed=seed, sample_id=sample_id)
    more: Mapping[str, Any] = {"sentences": sentences, **extras}
    return single_turn(
        source, split, sample_id, Task.CHANGE, question=request, answer="\n".join(sentences), images=images, extras=more
    )
