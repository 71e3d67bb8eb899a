"""From encoded examples to padded batches of near-equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

IGNORED = -100
WINDOW = 8  # batches whose examples are sorted by length together


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised training sequence.

    Args:
        id: Names the sample, or the samples joined by "+".
        input_ids: Token ids.
        labels: The token's id where it is to be learned, -100 elsewhere; as long as `input_ids`.
        images: Path of the image of each ``<image>`` token, in order.
    """

    id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    images: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def supervised(self) -> int:
        """Number of tokens with a loss (the first token is never predicted)."""
        return sum(label != IGNORED for label in self.labels[1:])


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
