"""Revision of distorted responses with a model in memory, to compare with the originals (sections 3.3 and 5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.records import RewritePair
from polite_flamingo.rewrite.question import RewriteQuestion

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.model.settings import GenerationSettings
    from polite_flamingo.records import Generated


def revise(
    bundle: FlamingoBundle,
    pairs: Sequence[RewritePair],
    settings: GenerationSettings,
    *,
    image_root: Path,
    batch_size: int,
    progress: str | None = None,
) -> list[Generated]:
    """Revise the drafted response of every pair.

    Args:
        bundle: The rewriter.
        pairs: Their revised responses are not read.
        settings: Decoding.
        image_root: Folder of the image paths.
        batch_size: Pairs at a time.
        progress: Name of a progress bar; None: no bar.
    """
    from polite_flamingo.model.generate import Prompt, generate
    from polite_flamingo.model.tokens import plain

    questions = [RewriteQuestion(p.id, p.instruction, p.drafted, tuple(i.path for i in p.images)) for p in pairs]
    prompts = [Prompt(q.prompt(partial(plain, bundle.tokenizer)), q.images, key=q.key) for q in questions]
    return generate(bundle, prompts, settings, image_root=image_root, batch_size=batch_size, progress=progress)
