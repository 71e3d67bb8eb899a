"""A micro Flamingo built from nothing: Llama 32 wide with 2 layers, CLIP tower 32 wide with 2 layers."""

from __future__ import annotations

from random import Random

TEXT = """
red green blue circle square star a the is in there one two image what color shape how many large small top left right
bottom ### Human: Assistant: ( Drafted Revised Response): . , ? : answer and yes no
"""
WORDS = [*TEXT.split(), "\n"]


def micro_tokenizer():
    """Byte-level BPE over a handful of words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = Random(0)
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator((" ".join(rng.choices(WORDS, k=12)) for _ in range(200)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


def micro_vision():
    """A CLIP tower 32 wide with 2 layers, for images of 32 pixels."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
        )
    )


def with_open_gates(bundle):
    """The bundle with gates that let images have an effect."""
    import torch

    with torch.no_grad():
        for block in bundle.model.lang_encoder.gated_cross_attn_layers:
            block.attn_gate.fill_(1.0)
            block.ff_gate.fill_(0.5)
            block.attn.to_out.weight.mul_(8)
    return bundle


def build_micro(seed: int = 0, tie: bool = True):
    """A micro bundle with its gates opened, so that images have an effect."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from polite_flamingo.model.bundle import build_flamingo
    from polite_flamingo.model.config import CrossAttention, FlamingoConfig, Perceiver

    tokenizer = micro_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        lm = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                tie_word_embeddings=tie,
                initializer_range=0.3,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
        vision = micro_vision()
    bundle = build_flamingo(
        lm,
        tokenizer,
        vision,
        config=FlamingoConfig(
            cross_attn_every_n_layers=1,
            perceiver=Perceiver(depth=1, num_latents=4, dim_head=8, heads=2),
            xattn=CrossAttention(dim_head=8, heads=2),
        ),
        seed=seed,
    )
    return with_open_gates(bundle)
