"""Batched generation (sections 3.3 and 4): prompts in, results in the same order.

A result depends on its own prompt and seed only, up to rounding: what is not a row's own is masked, every row attends
to its own last image (``<image>`` is never generated), and sampling draws from one generator per row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.beams import beam_search
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.causal import context_length
from polite_flamingo.model.rows import DecodingRow
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.model.slots import decode
from polite_flamingo.model.tokens import encode_all
from polite_flamingo.prompts.templates import IMAGE_TOKEN
from polite_flamingo.records import Generated

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

    @property
    def name(self) -> str:
        """What decides the random numbers."""
        return self.key or "\0".join((self.text, *self.images))


def generate(
    bundle: FlamingoBundle,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    image_root: Path,
    batch_size: int,
    token_budget: int | None = None,
    compiled: bool = False,
    progress: str | None = None,
) -> list[Generated]:
    """Continue every prompt until the end of sequence.

    Greedy decoding and sampling keep `batch_size` rows busy: as one ends another enters (`model.slots`), so giving many
    prompts at once pays. Beams go in fixed batches of near-equal length. When memory runs out, fewer rows are tried.

    Args:
        bundle: The model.
        prompts: What to continue.
        settings: Decoding.
        image_root: Folder of the image paths.
        batch_size: Most prompts at a time.
        token_budget: Most tokens at a time, prompts and the longest possible continuations; None: no bound.
        compiled: Decode with `torch.compile` (worth its minutes for long runs on a GPU).
        progress: Name of a progress bar; None: no bar.

    Returns:
        One result per prompt, in order. A prompt that leaves the model no room gives an empty text, reason "length".

    Raises:
        ModelError: a prompt's ``<image>`` tokens and images differ in number, or memory does not hold a single prompt.
    """
    from tqdm import tqdm

    rows, results = _prepare(bundle, prompts, settings)
    media = _image_latents(bundle, rows, image_root, 2 * batch_size)
    if settings.num_beams > 1:
        ended = beam_search(bundle, rows, settings, media=media, batch_size=batch_size, token_budget=token_budget)
    else:
        ended = decode(bundle, rows, media=media, slots=batch_size, token_budget=token_budget, compiled=compiled)
    with (
        few_threads(bundle),
        tqdm(total=len(rows), desc=progress, unit="text", mininterval=1.0, disable=progress is None) as bar,
    ):
        for row in ended:
            results[row.index] = _finish(bundle, row.output)
            bar.update()
    return [result for result in results if result is not None]


def _prepare(
    bundle: FlamingoBundle, prompts: Sequence[Prompt], settings: GenerationSettings
) -> tuple[list[DecodingRow], list[Generated | None]]:
    """Rows to be generated, the longest first, and a result per prompt: None until its row has ended."""
    results: list[Generated | None] = [None] * len(prompts)
    rows = []
    room = context_length(bundle.model.lang_encoder)
    encoded = encode_all(bundle.tokenizer, [prompt.text for prompt in prompts])
    for index, (prompt, ids) in enumerate(zip(prompts, encoded, strict=True)):
        _check_images(bundle, prompt, ids)
        if len(ids) >= room:
            results[index] = Generated("", "length", 0)
            continue
        limit = min(settings.max_new_tokens, room - len(ids))
        rows.append(DecodingRow(index, ids, prompt.images, prompt.name, limit, settings))
    full = len(prompts) - len(rows)
    if full:
        LOG.warning("%d of %d prompts fill the model's context of %d tokens: empty results", full, len(prompts), room)
    rows.sort(key=lambda row: (-len(row.ids), row.index))
    return rows, results


def _image_latents(
    bundle: FlamingoBundle, rows: Sequence[DecodingRow], image_root: Path, first: int
) -> Callable[[Sequence[str]], torch.Tensor]:
    """Latents (N, n, d) of images by path; the `first` images are prefetched now, later ones as rows ask for theirs."""
    ahead = iter(dict.fromkeys(image for row in rows for image in row.images))

    def latents(paths: Sequence[str]) -> torch.Tensor:
        encoded = bundle.image_latents(paths, image_root)
        bundle.prefetch_images(islice(ahead, max(len(paths), 1)), image_root)
        return encoded

    bundle.prefetch_images(islice(ahead, first), image_root)
    return latents


@contextmanager
def few_threads(bundle: FlamingoBundle) -> Iterator[None]:
    """One thread for a small model on a CPU: its steps are too short to share, and waiting for threads costs more."""
    before = torch.get_num_threads()
    if bundle.device.type == "cpu" and sum(p.numel() for p in bundle.model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check_images(bundle: FlamingoBundle, prompt: Prompt, ids: Sequence[int]) -> None:
    count = list(ids).count(bundle.media_token_id)
    if count != len(prompt.images):
        raise ModelError(
            f"a prompt shows {count} images and has {len(prompt.images)}",
            value=prompt.text[:200],
            where=prompt.key or None,
            next_step=f"write one {IMAGE_TOKEN} per image",
        )


def text_of_tokens(bundle: FlamingoBundle, tokens: Sequence[int]) -> str:
    """The text of generated tokens, the end of sequence excluded."""
    text = bundle.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text).strip()


def _finish(bundle: FlamingoBundle, ids: Sequence[int]) -> Generated:
    stopped = bool(ids) and ids[-1] == bundle.tokenizer.eos_token_id
    kept = list(ids[:-1] if stopped else ids)
    return Generated(text_of_tokens(bundle, kept), "stop" if stopped else "length", len(kept))
