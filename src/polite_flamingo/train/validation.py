"""Loss on examples that are not learned from, and early stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polite_flamingo.train.collate import Batch, Example, collate
from polite_flamingo.train.feed import image_loader

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.train.engine import Engine
    from polite_flamingo.train.resume import Progress


def batches(examples: Sequence[Example], size: int, pad_id: int) -> Iterator[Batch]:
    """Every example once, by length."""
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i]), i))
    for start in range(0, len(order), size):
        yield collate([examples[i] for i in order[start : start + size]], pad_id)


@torch.no_grad()
def mean_loss(bundle: FlamingoBundle, examples: Sequence[Example], *, image_root: Path, batch_size: int = 16) -> float:
    """Mean loss per supervised token (nats) on `examples`, without training."""
    total, count = 0.0, 0
    for batch in batches(examples, batch_size, bundle.tokenizer.pad_token_id):
        device = bundle.device
        mask = batch.attention_mask
        total += float(
            bundle.model.supervised_loss(
                batch.input_ids.to(device),
                None if mask is None else mask.to(device),
                batch.labels.to(device),
                bundle.encode_images(batch.images, image_root),
                batch.image_index.to(device),
            )
        )
        count += batch.supervised
    return total / max(1, count)


@torch.no_grad()
def validation_loss(engine: Engine, examples: Sequence[Example], *, image_root: Path) -> float:
    """Mean loss per supervised token (nats) during a training, the examples shared out over its processes."""
    bundle = engine.bundle
    load = image_loader(bundle, image_root)
    engine.module.eval()
    found = torch.zeros(2, dtype=torch.float64)
    ready = list(batches(examples, engine.settings.micro_batch_size, bundle.tokenizer.pad_token_id))
    for start in range(0, len(ready), engine.world):
        mine = start + engine.rank
        batch = ready[min(mine, len(ready) - 1)]  # every process computes as often: shards need all of them
        pixels = {path: image for path in batch.images if (image := load(path)) is not None}
        loss = engine.loss(batch, image_root, pixels)
        if mine < len(ready):
            found += torch.tensor([float(loss), batch.supervised], dtype=torch.float64)
    engine.module.train()
    bundle.tower.eval()
    total, count = engine.summed(found.to(bundle.device)).tolist()
    return total / max(1.0, count)


def has_stalled(progress: Progress, patience: int) -> bool:
    """True once the last `patience` validations brought no better loss; never with patience 0."""
    if not patience:
        return False
    steps = [step for step, _ in progress.validation]
    best, _ = progress.best
    return best in steps and len(steps) - 1 - steps.index(best) >= patience
