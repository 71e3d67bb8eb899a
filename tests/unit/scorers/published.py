"""The paper's architectures as their publishers lay them out, tiny and random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.scorers.models import WORDS

LETTERS = [*"abcdefghijklmnopqrstuvwxyz", *'".,:?!']


def deberta(folder: Path, **labels: Any) -> Path:
    """``cross-encoder/nli-deberta-v3-base`` and ``OpenAssistant/reward-model-deberta-v3-large-v2``."""
    import torch
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification, DebertaV2Tokenizer

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = [(piece, 0.0) for piece in special] + [(f"▁{word}", -2.0) for word in WORDS]
    tokenizer = DebertaV2Tokenizer(vocab=[*pieces, *((letter, -6.0) for letter in ["▁", *LETTERS])], unk_id=3)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        type_vocab_size=0,
        position_biased_input=False,
        pooler_hidden_size=16,
        initializer_range=0.3,
        **labels,
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    return folder


def mpnet(folder: Path) -> Path:
    """``sentence-transformers/all-mpnet-base-v2``: modules.json, 1_Pooling, 2_Normalize."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

    base = folder.with_name(f"{folder.name}-base")
    names = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>", *WORDS, *LETTERS, *(f"##{x}" for x in LETTERS)]
    tokenizer = MPNetTokenizer(vocab={name: i for i, name in enumerate(dict.fromkeys(names))})
    tokenizer.save_pretrained(base)
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=50,
        initializer_range=0.3,
    )
    MPNetModel(config).save_pretrained(base)
    modules = [Transformer(str(base), max_seq_length=40), Pooling(16, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder


def clip_336(folder: Path) -> Path:
    """``openai/clip-vit-large-patch14-336``: vocab.json and merges.txt, 77 positions, 336 pixels in patches of 14."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True)
    names = [*LETTERS, *(f"{x}</w>" for x in LETTERS), "re", "red</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {**special, "pad_token": "<|endoftext|>", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": 336, "crop_size": 336, "do_center_crop": True, "do_normalize": True, "do_resize": True})
    )
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    end = names.index("<|endoftext|>")
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(
            text_config={
                **tower,
                "vocab_size": len(names),
                "bos_token_id": end - 1,
                "eos_token_id": end,
                "pad_token_id": end,
            },
            vision_config={**tower, "image_size": 336, "patch_size": 14},
            projection_dim=8,
            initializer_factor=8.0,
        )
    ).save_pretrained(folder)
    return folder
