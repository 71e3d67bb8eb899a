"""Beam search in batches of near-equal length, by Hugging Face's implementation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.rows import DecodingRow, image_slots, out_of_memory
from polite_flamingo.model.sampling import row_generator, sampling_warpers
from polite_flamingo.model.settings import GenerationSettings

LOG = logging.getLogger(__name__)


def beam_search(
    bundle: FlamingoBundle,
    rows: Sequence[DecodingRow],
    settings: GenerationSettings,
    *,
    media: Callable[[Sequence[str]], torch.Tensor],
    batch_size: int,
    token_budget: int | None = None,
) -> Iterator[DecodingRow]:
    """Generate every row with beams; yields the rows of a batch as it ends, their tokens in ``output``.

    Args:
        bundle: The model.
        rows: Prompts, the longest first.
        settings: Decoding, with beams.
        media: Latents (N, n, d) of N images.
        batch_size: Most rows at a time.
        token_budget: Most tokens of a batch, prompts and continuations (each beam counts); None: no bound.

    Raises:
        ModelError: the memory does not even hold one row.
    """
    start = 0
    while start < len(rows):
        # The batch is as wide as its longest prompt and all of it may go on as long as the longest.
        longest = settings.num_beams * (len(rows[start].ids) + settings.max_new_tokens)
        most = batch_size if token_budget is None else max(1, min(batch_size, token_budget // longest))
        batch = rows[start : start + most]
        try:
            with torch.inference_mode():
                outputs = _search(bundle, batch, settings, media)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelError(
                    "the memory does not hold one prompt and its beams",
                    value=f"{len(batch[0].ids)} tokens, {settings.num_beams} beams",
                    next_step="choose a smaller number type (runtime.dtype: bfloat16) or lower num_beams",
                ) from error
            batch_size = len(batch) // 2
            LOG.warning("out of memory with %d prompts at a time: going on with %d", len(batch), batch_size)
            continue
        for row, output in zip(batch, outputs, strict=True):
            row.output = output
            yield row
        start += len(batch)


def _search(
    bundle: FlamingoBundle,
    rows: Sequence[DecodingRow],
    settings: GenerationSettings,
    media: Callable[[Sequence[str]], torch.Tensor],
) -> list[list[int]]:
    """Left-padded prompts in, tokens of the best beam out; with sampling each row draws from its own generator."""
    from transformers import GenerationConfig

    pad, end, device = bundle.tokenizer.pad_token_id, bundle.tokenizer.eos_token_id, bundle.device
    width = max(len(row.ids) for row in rows)
    input_ids = torch.tensor([[*[pad] * (width - len(row.ids)), *row.ids] for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows], device=device)
    config = GenerationConfig(
        max_new_tokens=min(row.limit for row in rows),
        num_beams=settings.num_beams,
        do_sample=settings.do_sample,
        temperature=None,
        top_k=None,
        top_p=None,
        length_penalty=settings.length_penalty,
        eos_token_id=end,
        pad_token_id=pad,
        bos_token_id=bundle.tokenizer.bos_token_id,
        use_cache=True,
    )
    latents, _ = image_slots(rows, media)
    with bundle.model.showing(latents.repeat_interleave(settings.num_beams, dim=0)) as lm:
        lm._row_generators = [row_generator(settings.seed, row.name) for row in rows] if settings.do_sample else None
        try:
            output = lm.generate(
                input_ids=input_ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=processors(bundle, settings),
            )
        finally:
            lm._row_generators = None
    continuations = output[:, width:].tolist()
    return [[t for t in (ids[: ids.index(end) + 1] if end in ids else ids) if t != pad] for ids in continuations]


def processors(bundle: FlamingoBundle, settings: GenerationSettings) -> Any:
    """Everything that changes the logits, in Hugging Face's order."""
    from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, SuppressTokensLogitsProcessor

    never = [bundle.media_token_id, bundle.tokenizer.pad_token_id]
    chain = LogitsProcessorList()
    if settings.no_repeat_ngram_size:
        chain.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    chain.append(SuppressTokensLogitsProcessor(never, device=str(bundle.device)))
    chain.extend(sampling_warpers(settings))
    return chain
