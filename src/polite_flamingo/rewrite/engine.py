"""Rewriting: raw annotations in, polite responses out (section 3.2, Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.model.generate import Generated, GenerationSettings, Prompt, generate
from polite_flamingo.model.tokens import plain
from polite_flamingo.prompts.templates import rewriter_prompt
from polite_flamingo.records import Rewrite, RewritePair, Sample

if TYPE_CHECKING:
    from polite_flamingo.model.flamingo import FlamingoBundle


def rewrite(
    bundle: FlamingoBundle,
    samples: Sequence[Sample],
    settings: GenerationSettings,
    *,
    image_root: Path,
    batch_size: int,
    progress: str | None = None,
) -> list[Generated]:
    """Rewrite the answer to the first turn of every sample; the whole raw answer (captions, boxes) is the draft.

    Args:
        bundle: The trained rewriter.
        samples: Annotations: one instruction, its raw answer.
        settings: Decoding.
        image_root: Folder of the image paths.
        batch_size: Samples per batch.
        progress: Name of a progress bar; None: no bar.
    """
    prompts = [
        _prompt(bundle, s.id, s.instruction, s.response, [s.images[i].path for i in s.turns[0].images]) for s in samples
    ]
    return generate(bundle, prompts, settings, image_root=image_root, batch_size=batch_size, progress=progress)


def revise(
    bundle: FlamingoBundle,
    pairs: Sequence[RewritePair],
    settings: GenerationSettings,
    *,
    image_root: Path,
    batch_size: int,
    progress: str | None = None,
) -> list[Generated]:
    """Revise the drafted response of every pair, to compare with the original."""
    prompts = [_prompt(bundle, p.id, p.instruction, p.drafted, [image.path for image in p.images]) for p in pairs]
    return generate(bundle, prompts, settings, image_root=image_root, batch_size=batch_size, progress=progress)


def as_rewrite(sample: Sample, generated: Generated) -> Rewrite:
    """Join a sample and its rewritten response into a record without scores."""
    return Rewrite(
        id=sample.id,
        source=sample.source,
        split=sample.split,
        licence=sample.licence,
        task=sample.task,
        instruction=sample.instruction,
        images=tuple(sample.images[i] for i in sample.turns[0].images),
        raw_answer=sample.response,
        rewritten=generated.text,
        finish_reason=generated.finish_reason,
        extras=dict(sample.extras),
    )


def _prompt(bundle: FlamingoBundle, key: str, instruction: str, drafted: str, images: Sequence[str]) -> Prompt:
    text = rewriter_prompt(plain(bundle.tokenizer, instruction), plain(bundle.tokenizer, drafted), len(images))
    return Prompt(text, tuple(images), key=key)
