"""A causal language model as continuous batching needs it, with or without images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from polite_flamingo.model.bundle import FlamingoBundle


@dataclass(frozen=True, slots=True, eq=False)
class CausalModel:
    """What `model.slots` decodes with.

    Args:
        lm: Hugging Face causal LM.
        device: Where it is.
        dtype: Number type of its weights.
        pad: Token that fills a prompt up; nothing attends to it.
        ends: Tokens that end a text.
        never: Tokens that are never generated.
        bundle: The Flamingo it belongs to; None: it sees no images.
    """

    lm: Any
    device: torch.device
    dtype: torch.dtype
    pad: int
    ends: frozenset[int]
    never: tuple[int, ...] = ()
    bundle: FlamingoBundle | None = None

    @classmethod
    def of(cls, bundle: FlamingoBundle) -> CausalModel:
        """The language model of a Flamingo."""
        pad = bundle.tokenizer.pad_token_id
        return cls(
            lm=bundle.model.lang_encoder,
            device=bundle.device,
            dtype=bundle.dtype,
            pad=pad,
            ends=frozenset([bundle.tokenizer.eos_token_id]),
            never=(bundle.media_token_id, pad),
            bundle=bundle,
        )

    @property
    def local_window(self) -> int | None:
        """Tokens that local attention reaches back, of the family that counts them in columns (GPT-Neo)."""
        config = self.lm.config
        return int(config.window_size) if config.model_type == "gpt_neo" else None


def context_length(lm: Any) -> int:
    """Most tokens of prompt and continuation; a huge number where the model has no bound."""
    config = lm.config  # MPT calls it max_seq_len
    return getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None) or 1 << 30
