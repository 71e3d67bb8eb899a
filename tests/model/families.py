"""Micro Flamingos over other families of language models than the Llama of `micro`."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

from tests.model.micro import micro_tokenizer, micro_vision, with_open_gates

LAYERS = {"llama": 7, "gpt_neox": 4, "opt": 6, "mpt": 4}  # family -> linear layers per decoder block


def language_model(family: str, vocabulary: int) -> Any:
    """A random causal LM, 32 wide with 2 layers."""
    from transformers import (
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
        MptConfig,
        MptForCausalLM,
        OPTConfig,
        OPTForCausalLM,
    )

    common: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": 0,
    }  # fmt: skip
    if family == "llama":
        return LlamaForCausalLM(
            LlamaConfig(**common, intermediate_size=64, num_key_value_heads=2, initializer_range=0.3)
        )
    if family == "gpt_neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**common, intermediate_size=64, initializer_range=0.3))
    if family == "mpt":
        sizes = {key: value for key, value in common.items() if key != "max_position_embeddings"}
        return MptForCausalLM(MptConfig(**sizes, max_seq_len=512, initializer_range=0.3))
    return OPTForCausalLM(
        OPTConfig(**common, ffn_dim=64, word_embed_proj_dim=32, init_std=0.3, dropout=0.0, pad_token_id=1)
    )


def build_family(family: str, *, seed: int = 0, attend_previous: bool = True, heads: int = 2, dim_head: int = 8) -> Any:
    """A micro bundle with open gates, the caller's own; equal ones are built once."""
    return deepcopy(_build(family, seed, attend_previous, heads, dim_head))


@cache
def _build(family: str, seed: int, attend_previous: bool, heads: int, dim_head: int) -> Any:
    import torch

    from polite_flamingo.model.bundle import build_flamingo
    from polite_flamingo.model.config import CrossAttention, FlamingoConfig, Perceiver

    tokenizer = micro_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        lm = language_model(family, len(tokenizer))
        vision = micro_vision()
    bundle = build_flamingo(
        lm,
        tokenizer,
        vision,
        config=FlamingoConfig(
            cross_attn_every_n_layers=1,
            perceiver=Perceiver(depth=1, num_latents=4, dim_head=dim_head, heads=heads),
            xattn=CrossAttention(dim_head=dim_head, heads=heads),
            attend_previous=attend_previous,
        ),
        seed=seed,
    )
    return with_open_gates(bundle)
