"""Settings of decoding and of LoRA. Imports no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Decoding settings with the defaults of the authors' inferencer.

    Args:
        max_new_tokens: Most tokens of a continuation.
        num_beams: Beams; 1 for greedy or plain sampling.
        do_sample: Sample instead of taking the best.
        temperature: Divides the logits when sampling.
        top_k: Sample from the k best; 0: all.
        top_p: Sample from the smallest set with this probability.
        length_penalty: Exponent of the length in beam scores.
        no_repeat_ngram_size: n-grams of this size never repeat; 0: off.
        seed: Decides, with a prompt's key, its random numbers.
    """

    max_new_tokens: int = 1024
    num_beams: int = 3
    do_sample: bool = True
    temperature: float = 1.0
    top_k: int = 20
    top_p: float = 0.9
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Rank, scale numerator and dropout of the adapters (appendix A: rank 64)."""

    r: int = 64
    alpha: int = 64
    dropout: float = 0.0
