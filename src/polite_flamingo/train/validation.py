"""Loss on examples that are not learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from polite_flamingo.train.data import Example
from polite_flamingo.train.feed import Batch, collate, image_loader

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.train.learner import Learner


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
def validation_loss(learner: Learner, examples: Sequence[Example], *, image_root: Path) -> float:
    """Mean loss per supervised token (nats) during a training, the examples shared out over its processes."""
    bundle = learner.bundle
    load = image_loader(bundle, image_root)
    learner.module.eval()
    sums = torch.zeros(2, dtype=torch.float64)
    ready = list(batches(examples, learner.settings.micro_batch_size, bundle.tokenizer.pad_token_id))
    for start in range(0, len(ready), learner.world):
        mine = start + learner.rank
        batch = ready[min(mine, len(ready) - 1)]  # every process computes as often: shards need all of them
        pixels = {path: image for path in batch.images if (image := load(path)) is not None}
        loss = learner.loss(batch, image_root, pixels)
        if mine < len(ready):
            sums += torch.tensor([float(loss), batch.supervised], dtype=torch.float64)
    learner.module.train()
    bundle.tower.eval()
    total, count = learner.summed(sums.to(bundle.device)).tolist()
    return total / max(1.0, count)
