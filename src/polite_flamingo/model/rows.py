"""A prompt while it is generated: what continuous batching and beam search share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from polite_flamingo.model.sampling import Ngrams, row_generator, sampling_warpers
from polite_flamingo.model.settings import GenerationSettings


@dataclass(slots=True)
class DecodingRow:
    """A prompt on its way.

    Args:
        index: Its place in the caller's list.
        ids: Token ids of the prompt.
        images: Keys of its images, in order.
        name: Decides its random numbers.
        limit: Most tokens it may get.
        settings: Its decoding.
        least: Tokens that it gets before it may end by itself.
    """

    index: int
    ids: list[int]
    images: tuple[str, ...]
    name: str
    limit: int
    settings: GenerationSettings
    least: int = 0
    output: list[int] = field(default_factory=list)
    generator: torch.Generator | None = None
    ngrams: Ngrams | None = None

    @property
    def warpers(self) -> tuple[Any, ...]:
        """What changes its scores before it draws; the same object for rows that draw alike."""
        return sampling_warpers(self.settings)

    def begin(self) -> None:
        """Forget what was generated."""
        settings = self.settings
        self.output = []
        self.generator = row_generator(settings.seed, self.name) if settings.do_sample else None
        size = settings.no_repeat_ngram_size
        self.ngrams = Ngrams(size, self.ids) if size else None


def image_slots(
    rows: Sequence[DecodingRow], media: Callable[[Sequence[str]], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (B, T_img, n, d) of the images of rows, and how many images each row shows (B)."""
    order = {image: i for i, image in enumerate(dict.fromkeys(image for row in rows for image in row.images))}
    latents = media(list(order))
    most = max(1, max(len(row.images) for row in rows))
    index = [[*(order[image] for image in row.images), *[0] * (most - len(row.images))] for row in rows]
    counts = torch.tensor([len(row.images) for row in rows], device=latents.device)
    return latents[torch.tensor(index, device=latents.device)], counts


def out_of_memory(error: BaseException) -> bool:
    """True for the errors that PyTorch and Python raise when memory runs out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
