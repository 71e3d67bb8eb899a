"""Tiny, randomly initialised models of the kinds the scorers load, saved as their publishers save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polite_flamingo.images import ImagePreprocessor

_WORDS = "a the red blue green square circle star image shows is answer to question there no yes in of and"
WORDS = _WORDS.split()


def bert_tokenizer(folder: Path) -> int:
    """Save a word tokenizer with BERT's special tokens; return the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {token: i for i, token in enumerate([*special, *WORDS, *'".,:?!'])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    return len(vocab)


def bert_config(size: int, **extra: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.5,
        **extra,
    )


def cross_encoder(folder: Path, **labels: Any) -> Path:
    import torch
    from transformers import BertForSequenceClassification

    size = bert_tokenizer(folder)
    torch.manual_seed(0)
    BertForSequenceClassification(bert_config(size, **labels)).save_pretrained(folder)
    return folder


def sentence_encoder(folder: Path) -> Path:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertModel

    base = folder.with_name(f"{folder.name}-base")
    size = bert_tokenizer(base)
    torch.manual_seed(0)
    BertModel(bert_config(size)).save_pretrained(base)
    SentenceTransformer(modules=[Transformer(str(base)), Pooling(16)], device="cpu").save(str(folder))
    return folder


def clip_model(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    vocab = {token: i for i, token in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS, *'".,:?!'])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=12,
    ).save_pretrained(folder)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(
            text_config={
                **tower,
                "vocab_size": len(vocab),
                "max_position_embeddings": 12,
                "pad_token_id": 0,
                "bos_token_id": 2,
                "eos_token_id": 3,
            },
            vision_config={**tower, "image_size": 16, "patch_size": 8},
            projection_dim=8,
            initializer_factor=8.0,
        )
    ).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(ImagePreprocessor.square(16).to_config()))
    return folder
