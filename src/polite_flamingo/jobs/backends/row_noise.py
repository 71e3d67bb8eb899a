"""Sampling of which each row has its own random numbers, whatever else is in its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class RowNoise:
    """Logits processor: the arg max of (logits / temperature + Gumbel noise) is a draw; each row has its own noise.

    Args:
        seeds: One per row; None leaves the row greedy.
        temperature: Divides the logits.
        top_k: Draw from the k best; 0: all.
        top_p: Draw from the smallest set with this probability.
    """

    def __init__(self, seeds: Sequence[int | None], temperature: float, top_k: int, top_p: float) -> None:
        import torch

        self._generators = [None if seed is None else torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._top_k = top_k
        self._top_p = top_p

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) whose arg max is the next token."""
        import torch

        drawn = [i for i, generator in enumerate(self._generators) if generator is not None]
        if not drawn:
            return scores
        logits = scores[drawn].float() / self._temperature
        if 0 < self._top_k < logits.shape[-1]:
            logits = logits.masked_fill(logits < logits.topk(self._top_k).values[:, -1:], float("-inf"))
        ranked, order = logits.softmax(-1).sort(dim=-1, descending=True)
        beyond = ranked.cumsum(-1) - ranked >= self._top_p
        logits = logits.masked_fill(beyond.gather(-1, order.argsort(-1)), float("-inf"))
        uniform = torch.stack([torch.rand(logits.shape[-1], generator=self._generators[i]) for i in drawn])
        noise = -(-uniform.clamp_min(1e-20).log()).clamp_min(1e-20).log()
        scores = scores.float().clone()
        scores[drawn] = logits + noise.to(logits.device)
        return scores
