"""Choosing the next token: what may not come, and random numbers of each row's own."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from polite_flamingo.model.settings import GenerationSettings


def gumbel(generators: Sequence[torch.Generator], like: torch.Tensor) -> torch.Tensor:
    """Gumbel noise shaped like `like` (rows, n), each row from its own generator."""
    rows = [torch.rand(like.shape[1], generator=g, dtype=torch.float64) for g in generators]
    exponential = (-torch.stack(rows).clamp_min(1e-300).log()).clamp_min(1e-300)
    return (-exponential.log()).to(like.device, like.dtype)


def row_generator(seed: int, name: str) -> torch.Generator:
    """Random numbers of one prompt: they depend on the seed and its name only."""
    digest = hashlib.sha256(f"{seed}:{name}:generate".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def sampling_warpers(settings: GenerationSettings) -> tuple[Any, ...]:
    """Temperature, top-k and top-p in Hugging Face's order; none when not sampling."""
    if not settings.do_sample:
        return ()
    return _warpers(settings.temperature, settings.top_k, settings.top_p, 2 if settings.num_beams > 1 else 1)


@lru_cache(maxsize=256)
def _warpers(temperature: float, top_k: int, top_p: float, keep: int) -> tuple[Any, ...]:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    chain: list[Any] = []
    if temperature != 1.0:
        chain.append(TemperatureLogitsWarper(temperature))
    if top_k:
        chain.append(TopKLogitsWarper(top_k, min_tokens_to_keep=keep))
    if top_p < 1.0:
        chain.append(TopPLogitsWarper(top_p, min_tokens_to_keep=keep))
    return tuple(chain)


class Ngrams:
    """The n-grams of one row; which tokens would repeat one is answered without reading the row again."""

    def __init__(self, size: int, ids: Sequence[int]) -> None:
        self._size = size
        self._after: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        self._last: tuple[int, ...] = ()
        for token in ids:
            self.add(token)

    def add(self, token: int) -> None:
        """Append a token to the row."""
        if len(self._last) == self._size - 1:
            self._after[self._last].append(token)
        self._last = (*self._last, token)[-(self._size - 1) :] if self._size > 1 else ()

    def banned(self) -> Sequence[int]:
        """Tokens that would complete an n-gram the row already has."""
        return self._after.get(self._last, ()) if len(self._last) == self._size - 1 else ()
