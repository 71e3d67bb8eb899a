"""A loss or gradient that is no number ends the training, and what caused it is kept to be looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ModelError
from polite_flamingo.io import write_json

if TYPE_CHECKING:
    import torch

    from polite_flamingo.train.collate import Batch


def check_finite(
    loss: float,
    norm: float,
    *,
    step: int,
    parts: Sequence[Batch],
    losses: Sequence[torch.Tensor],
    folder: Path,
    facts: dict[str, Any],
) -> None:
    """Stop a training whose loss or gradient norm is not finite.

    Args:
        loss: Loss of the step, over all processes.
        norm: Norm of its gradient.
        step: Number of the step, from 0.
        parts: Micro-batches of this process.
        losses: Their losses.
        folder: Gets ``bad_batch-step-N-rank-R/``: one ``.safetensors`` per micro-batch, and ``batch.json``.
        facts: What else is known (label, rank, learning rate), for the JSON file.

    Raises:
        ModelError: names the step, the samples and the folder.
    """
    if math.isfinite(loss) and math.isfinite(norm):
        return
    import torch

    bad = [part for part, value in zip(parts, losses, strict=True) if not bool(torch.isfinite(value))]
    what = "loss" if not math.isfinite(loss) else "gradient"
    place = save_batches(bad or parts, folder / f"bad_batch-step-{step}-rank-{facts['rank']}", {**facts, "step": step})
    raise ModelError(
        f"the {what} is not finite at step {step}",
        value=[name for part in bad or parts for name in part.ids],
        where=f"{facts['label']}; the batch is kept in {place}",
        next_step="lower the learning rate or look at these samples; "
        "with a changed setting, discard the unfinished training first",
    )


def save_batches(parts: Sequence[Batch], folder: Path, facts: dict[str, Any]) -> Path:
    """Write micro-batches as safetensors, their ids and image paths as JSON; returns the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for index, part in enumerate(parts):
        tensors = {"input_ids": part.input_ids, "labels": part.labels, "image_index": part.image_index}
        if part.attention_mask is not None:
            tensors["attention_mask"] = part.attention_mask
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / f"{index}.safetensors")
    write_json(folder / "batch.json", {**facts, "parts": [{"ids": p.ids, "images": p.images} for p in parts]})
    return folder
