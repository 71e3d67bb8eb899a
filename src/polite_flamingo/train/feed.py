"""From examples to the steps of a training: their order, padded batches of near-equal length, images opened in time.

The next steps are made ready in the background while the model works; what it still has to wait is measured.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from polite_flamingo.errors import DataError
from polite_flamingo.images import open_image
from polite_flamingo.train.data import IGNORED, EpochExamples, Example, TrainingData
from polite_flamingo.train.group import micro_batches
from polite_flamingo.train.settings import TrainSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from polite_flamingo.model.bundle import FlamingoBundle

WINDOW = 8  # batches whose examples are sorted by length together
AHEAD = 2  # steps made ready while one is computed
IMAGE_THREADS = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded tensors of a few examples.

    Args:
        ids: The examples' ids.
        input_ids: (B, T).
        attention_mask: (B, T), or None when nothing is padded.
        labels: (B, T), -100 where unsupervised.
        images: The distinct image paths (N).
        image_index: Image of each slot (B, T_img); slots without an image point to 0 and are never attended to.
        supervised: Number of tokens with a loss.
        tokens: Number of real tokens.
    """

    ids: tuple[str, ...]
    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    labels: torch.Tensor
    images: tuple[str, ...]
    image_index: torch.Tensor
    supervised: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Position:
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
        after: Position of the step that follows.
    """

    parts: tuple[Batch, ...]
    pixels: dict[str, torch.Tensor]
    supervised: int
    tokens: int
    after: Position


class Feed:
    """Iterates over the steps of a training from `start` on; the order is a pure function of (seed, epoch).

    Args:
        data: Draws the epochs.
        bundle: Its tokenizer pads, its image processor prepares, its cache tells what is encoded already.
        settings: Sequences per step and per forward pass, and the seed of the order.
        image_root: Folder of the image paths.
        start: Position of the first step.
        steps: Number of steps.
        rank: This process.
        world: Number of processes.
    """

    def __init__(
        self,
        data: TrainingData,
        bundle: FlamingoBundle,
        settings: TrainSettings,
        *,
        image_root: Path,
        start: Position,
        steps: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.waited = 0.0  # seconds
        self._data = data
        self._batch_size, self._seed = settings.global_batch_size, settings.seed
        self._rank, self._world, self._parts = rank, world, micro_batches(settings, world)
        self._pad_id = bundle.tokenizer.pad_token_id
        self._load = image_loader(bundle, image_root)
        self._position, self._left = start, steps
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
        position = self._position
        if self._pool is None:
            self._pool = self._data.epoch(position.epoch)
            self._batches = epoch_batches(self._pool.lengths, self._batch_size, seed=self._seed, epoch=position.epoch)
            if not self._batches:
                raise DataError("an epoch has no example", value=position.epoch)
        chosen = [self._pool[i] for i in self._batches[position.index]]
        supervised = sum(example.supervised for example in chosen)
        if supervised == 0:
            raise DataError("a batch has no token to learn", value=[e.id for e in chosen][:5])
        if position.index + 1 < len(self._batches):
            self._position = replace(position, index=position.index + 1)
        else:
            self._position, self._pool = Position(position.epoch + 1), None
        own = split(chosen, self._world * self._parts)[self._rank :: self._world]
        parts = tuple(collate(part, self._pad_id) for part in own)
        paths = list(dict.fromkeys(path for part in parts for path in part.images))
        opened = zip(paths, self._images.map(self._load, paths), strict=True)
        pixels = {path: image for path, image in opened if image is not None}
        return Step(parts, pixels, supervised, sum(len(example) for example in chosen), self._position)


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


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Pad `examples` on the right and number their distinct images."""
    import torch

    width = max(len(example) for example in examples)
    images: dict[str, int] = {}
    slots = [[images.setdefault(path, len(images)) for path in example.images] for example in examples]
    most = max(1, max(len(row) for row in slots))
    lengths = [len(example) for example in examples]
    return Batch(
        ids=tuple(example.id for example in examples),
        input_ids=torch.tensor([[*e.input_ids, *[pad_id] * (width - len(e))] for e in examples]),
        attention_mask=None if min(lengths) == width else torch.tensor([[1] * n + [0] * (width - n) for n in lengths]),
        labels=torch.tensor([[*e.labels, *[IGNORED] * (width - len(e))] for e in examples]),
        images=tuple(images),
        image_index=torch.tensor([[*row, *[0] * (most - len(row))] for row in slots]),
        supervised=sum(example.supervised for example in examples),
        tokens=sum(lengths),
    )


def epoch_batches(
    lengths: Sequence[int] | npt.NDArray[np.int32], batch_size: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """Order of an epoch: indices in full batches of near-equal length, a pure function of its arguments.

    The shuffled order is cut into windows of a few batches; a window is sorted by length, cut into batches, and all
    batches are shuffled. The last batch is filled up with examples of the epoch's beginning.
    """
    rng = Random(f"{seed}:{epoch}:order")
    order = list(range(len(lengths)))
    rng.shuffle(order)
    if not order:
        return []
    missing = -len(order) % batch_size
    order += [order[i % len(order)] for i in range(missing)]
    batches: list[list[int]] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = sorted(order[start : start + WINDOW * batch_size], key=lambda i: (lengths[i], i))
        batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
    rng.shuffle(batches)
    return batches
