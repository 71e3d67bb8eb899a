"""Batches made ready in the background: the next steps' examples are decoded, padded and their images opened while
the model works. What it still has to wait is measured.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.errors import DataError
from polite_flamingo.images import open_image
from polite_flamingo.train.collate import Batch, Example, collate, epoch_batches

if TYPE_CHECKING:
    import torch

    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.train.data import EpochExamples, TrainingData

AHEAD = 2  # steps made ready while one is computed
IMAGE_THREADS = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training stands in its data: the next batch of an epoch."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Data of one optimizer step.

    Args:
        parts: The micro-batches of this process.
        pixels: Preprocessed images (3, H, W) by path, of those images that are not encoded yet.
        supervised: Tokens with a loss, over all processes.
        tokens: Real tokens, over all processes.
        after: Place of the step that follows.
    """

    parts: tuple[Batch, ...]
    pixels: dict[str, torch.Tensor]
    supervised: int
    tokens: int
    after: Place


class Feed:
    """Iterates over the steps of a training from `start` on; the order is a pure function of (seed, epoch).

    Args:
        data: Draws the epochs.
        bundle: Its tokenizer pads, its image processor prepares, its cache tells what is encoded already.
        batch_size: Sequences per step over all processes.
        parts: Micro-batches per process.
        seed: Decides the order.
        image_root: Folder of the image paths.
        start: First step's place.
        steps: Number of steps.
        rank: This process.
        world: Number of processes.
    """

    def __init__(
        self,
        data: TrainingData,
        bundle: FlamingoBundle,
        *,
        batch_size: int,
        parts: int,
        seed: int,
        image_root: Path,
        start: Place,
        steps: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.waited = 0.0  # seconds
        self._data = data
        self._batch_size, self._parts, self._seed = batch_size, parts, seed
        self._rank, self._world = rank, world
        self._pad_id = bundle.tokenizer.pad_token_id
        self._load = image_loader(bundle, image_root)
        self._place, self._left = start, steps
        self._pool: EpochExamples | None = None
        self._batches: list[list[int]] = []
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._images = ThreadPoolExecutor(IMAGE_THREADS, thread_name_prefix="images")

    def __iter__(self) -> Iterator[Step]:
        """The steps; an error of the data is raised where its step would come."""
        ready: deque[Future[Step]] = deque()
        try:
            while True:
                while self._left and len(ready) <= AHEAD:
                    ready.append(self._builder.submit(self._next))
                    self._left -= 1
                if not ready:
                    return
                began = time.monotonic()
                step = ready.popleft().result()
                self.waited += time.monotonic() - began
                yield step
        finally:
            self._builder.shutdown(cancel_futures=True)
            self._images.shutdown(cancel_futures=True)

    def _next(self) -> Step:
        place = self._place
        if self._pool is None:
            self._pool = self._data.epoch(place.epoch)
            self._batches = epoch_batches(self._pool.lengths, self._batch_size, seed=self._seed, epoch=place.epoch)
            if not self._batches:
                raise DataError("an epoch has no example", value=place.epoch)
        chosen = [self._pool[i] for i in self._batches[place.index]]
        supervised = sum(example.supervised for example in chosen)
        if supervised == 0:
            raise DataError("a batch has no token to learn", value=[e.id for e in chosen][:5])
        if place.index + 1 < len(self._batches):
            self._place = replace(place, index=place.index + 1)
        else:
            self._place, self._pool = Place(place.epoch + 1), None
        own = split(chosen, self._world * self._parts)[self._rank :: self._world]
        parts = tuple(collate(part, self._pad_id) for part in own)
        paths = list(dict.fromkeys(path for part in parts for path in part.images))
        opened = zip(paths, self._images.map(self._load, paths), strict=True)
        pixels = {path: image for path, image in opened if image is not None}
        return Step(parts, pixels, supervised, sum(len(example) for example in chosen), self._place)


def image_loader(bundle: FlamingoBundle, image_root: Path) -> Callable[[str], torch.Tensor | None]:
    """Function that opens and preprocesses an image, or returns None for one that is encoded already."""

    def load(path: str) -> torch.Tensor | None:
        return None if bundle.is_encoded(path, image_root) else bundle.image_processor(open_image(image_root, path))

    return load


def split(items: Sequence[Example], parts: int) -> list[list[Example]]:
    """Cut into `parts` runs whose lengths differ by one at most."""
    base, more = divmod(len(items), parts)
    cuts = [0]
    for index in range(parts):
        cuts.append(cuts[-1] + base + (index < more))
    return [list(items[a:b]) for a, b in pairwise(cuts)]
