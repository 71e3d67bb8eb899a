"""Tokenising prompts the same way in training and generation.

A prompt is cut at the template's own boundaries (system message, human turn, answer) and the pieces are encoded one by
one. So the tokens of a turn do not depend on what stands beside it, and a training sequence that was
assembled turn by turn has exactly the tokens that the whole prompt has later.

A model whose text attends to the image *after* it (OpenFlamingo 1, `model.architecture`) needs its images at the end of
the human turn, as its prompts had them. Its tokenizer says so (`place_images`), and the pieces are turned here, so that
training and generation cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from polite_flamingo.errors import ModelError
from polite_flamingo.prompts.templates import CHUNK_TOKEN, IMAGE, IMAGE_TOKEN, PAD_TOKEN, SYSTEM_MESSAGE

SYSTEM = SYSTEM_MESSAGE + "\n"
IMAGES_LAST = "images_last"  # key in tokenizer_config.json
_SHOWN = re.compile(rf"### Human: ((?:{re.escape(IMAGE)})+)(.*?)(?=\n### Assistant: |\Z)", re.DOTALL)
_BOUNDARY = re.compile(r"(?<=### Assistant: )|(?=\n### Human: )|(?<=\n)(?=### Human: )")


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a prompt's text, with the tokenizer's beginning-of-sequence token if it uses one."""
    return encode_all(tokenizer, [text])[0]


def encode_all(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of the texts of prompts (see `encode`); a piece that several share is encoded once."""
    last = images_last(tokenizer)
    pieces = [_cut(_SHOWN.sub(r"### Human: \2 \1", text) if last else text) for text in texts]
    distinct = list(dict.fromkeys(part for parts in pieces for part in parts))
    encoded = tokenizer(distinct, add_special_tokens=False).input_ids if distinct else []
    ids = dict(zip(distinct, encoded, strict=True))
    start = begin(tokenizer)
    return [start + [token for part in parts for token in ids[part]] for parts in pieces]


def place_images(tokenizer: Any, *, last: bool) -> None:
    """Say where in a human turn this tokenizer's model wants the images: first, or `last`."""
    tokenizer.init_kwargs.pop(IMAGES_LAST, None)
    if last:
        tokenizer.init_kwargs[IMAGES_LAST] = True


def images_last(tokenizer: Any) -> bool:
    """True when the images of a human turn stand after its text."""
    return bool(getattr(tokenizer, "init_kwargs", {}).get(IMAGES_LAST))


def _cut(text: str) -> list[str]:
    head = [SYSTEM] if text.startswith(SYSTEM) else []
    return head + [part for part in _BOUNDARY.split(text[len(SYSTEM) :] if head else text) if part]


def piece(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a part of a prompt."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def begin(tokenizer: Any) -> list[int]:
    """The beginning-of-sequence token, where the tokenizer puts one."""
    if tokenizer.bos_token_id is None:
        return []
    first = tokenizer("a").input_ids[:1]
    return list(first) if first == [tokenizer.bos_token_id] else []


def plain(tokenizer: Any, text: str) -> str:
    """`text` with every special token's spelling taken apart, so that data cannot pose as an image or an end."""
    for token in {IMAGE_TOKEN, CHUNK_TOKEN, PAD_TOKEN, *tokenizer.all_special_tokens}:
        if token in text:
            text = text.replace(token, re.sub(r"[<>|]", "", token))
    return text


def add_special_tokens(lm: Any, tokenizer: Any) -> None:
    """Add ``<|endofchunk|>``, ``<image>`` and ``<PAD>`` where missing, with embeddings near the mean of all others.

    Raises:
        ModelError: the tokenizer has no end-of-sequence token.
    """
    import torch

    tokenizer.padding_side = "right"
    known = tokenizer.get_vocab()
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end-of-sequence token", next_step="set eos_token in its config")
    extra = [token for token in (CHUNK_TOKEN, IMAGE_TOKEN) if token not in known]
    if extra:
        tokenizer.add_tokens(extra, special_tokens=True)
    if tokenizer.pad_token != PAD_TOKEN:  # some models pad with eos, which would unteach stopping
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    lm.config.pad_token_id = tokenizer.pad_token_id
    embeddings = lm.get_input_embeddings()
    old = min(len(known), embeddings.weight.shape[0])
    if len(tokenizer) > embeddings.weight.shape[0]:
        lm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if len(tokenizer) == old:
        return
    tables = [lm.get_input_embeddings().weight]
    output = lm.get_output_embeddings()
    if output is not None and output.weight is not tables[0]:
        tables.append(output.weight)
    with torch.no_grad():
        for table in tables:
            mean, spread = table[:old].mean(dim=0), table[:old].std(dim=0)
            noise = torch.randn(len(tokenizer) - old, table.shape[1], device=table.device).to(table.dtype)
            table[old : len(tokenizer)] = mean + 0.1 * spread * noise
