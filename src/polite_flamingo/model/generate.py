"""Batched generation (sections 3.2 and 4): left padding, length buckets, results in input order.

A result depends on its own prompt and seed only, up to rounding: padding is masked, every row attends to its own last
image (``<image>`` is never generated: one such token would reset the images of the whole batch), and sampling draws
from one generator per row.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.flamingo import gumbel
from polite_flamingo.model.tokens import encode
from polite_flamingo.prompts.templates import IMAGE_TOKEN

if TYPE_CHECKING:
    from polite_flamingo.model.flamingo import FlamingoBundle

LOG = logging.getLogger(__name__)
SMALL = 20_000_000  # parameters


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to continue.

    Args:
        text: The prompt, with one ``<image>`` per image.
        images: Image paths in order.
        key: Names the sample; decides its random numbers when sampling. Default: text and images.
    """

    text: str
    images: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Generated:
    """A continuation.

    Args:
        text: The text, stripped.
        finish_reason: "stop" (end of sequence) or "length" (no room left).
        tokens: Number of tokens, the end excluded.
    """

    text: str
    finish_reason: str
    tokens: int


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


def generate(
    bundle: FlamingoBundle,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    image_root: Path,
    batch_size: int,
    progress: str | None = None,
) -> list[Generated]:
    """Continue every prompt until the end of sequence.

    Args:
        bundle: The model.
        prompts: What to continue.
        settings: Decoding.
        image_root: Folder of the image paths.
        batch_size: Prompts per batch; prompts of near-equal length share one.
        progress: Name of a progress bar; None: no bar.

    Returns:
        One result per prompt, in order. A prompt that leaves the model no room gives an empty text, reason "length".

    Raises:
        ModelError: a prompt's ``<image>`` tokens and images differ in number.
    """
    from tqdm import tqdm

    results: list[Generated | None] = [None] * len(prompts)
    encoded = [encode(bundle.tokenizer, prompt.text) for prompt in prompts]
    room = getattr(bundle.model.lang_encoder.config, "max_position_embeddings", None) or 1 << 30
    full = 0
    for index, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
        shown = ids.count(bundle.media_token_id)
        if shown != len(prompt.images):
            raise ModelError(
                f"a prompt shows {shown} images and has {len(prompt.images)}",
                value=prompt.text[:200],
                where=prompt.key or None,
                next_step=f"write one {IMAGE_TOKEN} per image",
            )
        if len(ids) >= room:
            results[index] = Generated("", "length", 0)
            full += 1
    if full:
        LOG.warning("%d of %d prompts fill the model's context of %d tokens: empty results", full, len(prompts), room)
    order = sorted((i for i in range(len(prompts)) if results[i] is None), key=lambda i: (-len(encoded[i]), i))
    with (
        _few_threads(bundle),
        tqdm(total=len(order), desc=progress, unit="text", mininterval=1.0, disable=progress is None) as bar,
    ):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            steps = min(settings.max_new_tokens, room - len(encoded[rows[0]]))
            batch = _Batch.of(bundle, [prompts[i] for i in rows], [encoded[i] for i in rows], settings, image_root)
            with torch.inference_mode():
                outputs = (
                    _beams(bundle, batch, settings, steps)
                    if settings.num_beams > 1
                    else _step_by_step(bundle, batch, settings, steps)
                )
            for index, ids in zip(rows, outputs, strict=True):
                results[index] = _finish(bundle, ids)
            bar.update(len(rows))
    return [result for result in results if result is not None]


@contextmanager
def _few_threads(bundle: FlamingoBundle) -> Iterator[None]:
    """One thread for a small model on a CPU: its steps are too short to share, and waiting for threads costs more."""
    before = torch.get_num_threads()
    if bundle.device.type == "cpu" and sum(p.numel() for p in bundle.model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Left-padded prompts with their images and, when sampling, one generator per row."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    vision_tokens: torch.Tensor
    image_index: torch.Tensor
    generators: list[torch.Generator] | None

    @classmethod
    def of(
        cls,
        bundle: FlamingoBundle,
        prompts: Sequence[Prompt],
        encoded: Sequence[Sequence[int]],
        settings: GenerationSettings,
        image_root: Path,
    ) -> _Batch:
        width = max(len(ids) for ids in encoded)
        pad = bundle.tokenizer.pad_token_id
        images: dict[str, int] = {}
        slots = [[images.setdefault(path, len(images)) for path in prompt.images] for prompt in prompts]
        most = max(1, max(len(row) for row in slots))
        device = bundle.device
        return cls(
            input_ids=torch.tensor([[*[pad] * (width - len(ids)), *ids] for ids in encoded], device=device),
            attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded], device=device),
            vision_tokens=bundle.encode_images(list(images), image_root),
            image_index=torch.tensor([[*row, *[0] * (most - len(row))] for row in slots], device=device),
            generators=[_generator(settings.seed, prompt) for prompt in prompts] if settings.do_sample else None,
        )


def _generator(seed: int, prompt: Prompt) -> torch.Generator:
    name = prompt.key or "\0".join((prompt.text, *prompt.images))
    digest = hashlib.sha256(f"{seed}:{name}:generate".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def _processors(bundle: FlamingoBundle, settings: GenerationSettings) -> Any:
    """Everything that changes the logits, in Hugging Face's order."""
    from transformers import (
        LogitsProcessorList,
        NoRepeatNGramLogitsProcessor,
        SuppressTokensLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    never = [bundle.media_token_id, bundle.tokenizer.pad_token_id]
    chain = LogitsProcessorList()
    if settings.no_repeat_ngram_size:
        chain.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    chain.append(SuppressTokensLogitsProcessor(never, device=str(bundle.device)))
    if settings.do_sample:
        if settings.temperature != 1.0:
            chain.append(TemperatureLogitsWarper(settings.temperature))
        keep = 2 if settings.num_beams > 1 else 1
        if settings.top_k:
            chain.append(TopKLogitsWarper(settings.top_k, min_tokens_to_keep=keep))
        if settings.top_p < 1.0:
            chain.append(TopPLogitsWarper(settings.top_p, min_tokens_to_keep=keep))
    return chain


def _step_by_step(bundle: FlamingoBundle, batch: _Batch, settings: GenerationSettings, steps: int) -> list[list[int]]:
    """Greedy decoding or sampling. Finished rows leave the batch, so a long answer does not hold up the short ones.

    Sampling takes the best of log p + Gumbel noise, which is a draw from p.
    """
    from transformers import DynamicCache

    processors = _processors(bundle, settings)
    end = bundle.tokenizer.eos_token_id
    rows = list(range(len(batch.input_ids)))
    outputs: list[list[int]] = [[] for _ in rows]
    generators = batch.generators
    history = batch.input_ids
    mask = batch.attention_mask
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    padded = not bool(mask.all())
    with bundle.model.showing(batch.vision_tokens, batch.image_index) as lm:
        cache = DynamicCache(config=lm.config)
        current = history
        for _ in range(steps):
            logits = (
                lm(
                    input_ids=current,
                    attention_mask=mask if padded else None,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                .logits[:, -1]
                .float()
            )
            scores = processors(history, logits)
            if generators is not None:
                scores = scores.log_softmax(dim=-1) + gumbel(generators, scores)
            chosen = scores.argmax(dim=-1)
            alive = []
            for slot, token in enumerate(chosen.tolist()):
                outputs[rows[slot]].append(token)
                if token != end:
                    alive.append(slot)
            if not alive:
                break
            current, positions = chosen[:, None], positions[:, -1:] + 1
            history = torch.cat([history, current], dim=1)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            if len(alive) <= 0.75 * len(rows):
                keep = torch.tensor(alive, device=history.device)
                current, positions, history, mask = (t[keep] for t in (current, positions, history, mask))
                cache.batch_select_indices(keep)
                lm.select_rows(keep)
                generators = None if generators is None else [generators[slot] for slot in alive]
                rows = [rows[slot] for slot in alive]
    return [ids[: ids.index(end) + 1] if end in ids else ids for ids in outputs]


def _beams(bundle: FlamingoBundle, batch: _Batch, settings: GenerationSettings, steps: int) -> list[list[int]]:
    """Hugging Face's beam search; with sampling each row draws from its own generator."""
    from transformers import GenerationConfig

    config = GenerationConfig(
        max_new_tokens=steps,
        num_beams=settings.num_beams,
        do_sample=settings.do_sample,
        temperature=None,
        top_k=None,
        top_p=None,
        length_penalty=settings.length_penalty,
        eos_token_id=bundle.tokenizer.eos_token_id,
        pad_token_id=bundle.tokenizer.pad_token_id,
        bos_token_id=bundle.tokenizer.bos_token_id,
        use_cache=True,
    )
    index = batch.image_index.repeat_interleave(settings.num_beams, dim=0)
    with bundle.model.showing(batch.vision_tokens, index) as lm:
        lm._row_generators = batch.generators
        try:
            output = lm.generate(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                generation_config=config,
                logits_processor=_processors(bundle, settings),
            )
        finally:
            lm._row_generators = None
    end = bundle.tokenizer.eos_token_id
    pad = bundle.tokenizer.pad_token_id
    rows = output[:, batch.input_ids.shape[1] :].tolist()
    return [[t for t in (ids[: ids.index(end) + 1] if end in ids else ids) if t != pad] for ids in rows]


def _finish(bundle: FlamingoBundle, ids: Sequence[int]) -> Generated:
    stopped = bool(ids) and ids[-1] == bundle.tokenizer.eos_token_id
    kept = list(ids[:-1] if stopped else ids)
    text = bundle.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Generated(text.strip(), "stop" if stopped else "length", len(kept))
