"""Trained models that leave the pipeline (a folder for the Hugging Face hub) or enter it (original checkpoints)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ModelError
from polite_flamingo.io.files import publishing, write_atomic
from polite_flamingo.io.text import read_json
from polite_flamingo.model.adapter import CONFIG as ADAPTER_CONFIG
from polite_flamingo.model.adapter import alpha_of
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.card import render_card
from polite_flamingo.model.checkpoint import (
    CARD,
    TRAINING,
    collect_trainables,
    count_values,
    load_trainables,
    save_trainables,
    trained_resolution,
)
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.lora import merge_lora
from polite_flamingo.model.original import KeyReport, load_original


def export_model(base: Path, trainables: Path, out: Path, *, name: str | None = None) -> dict[str, Any]:
    """Write base and training as one model folder, LoRA merged; `load_flamingo(out)` gives the same model.

    Args:
        base: Folder of the base.
        trainables: Folder written by `model.checkpoint.save_trainables`.
        out: New folder.
        name: Name on the card; default: that of `trainables`.

    Returns:
        ``folder``, ``parameters`` and ``bytes``.

    Raises:
        ModelError: `out` is in use, or a part does not load.
    """
    if out.exists() and any(out.iterdir()):
        raise ModelError("the folder to export to is not empty", where=out, next_step="name a new folder")
    bundle = load_flamingo(base, resolution=trained_resolution(trainables))
    load_trainables(bundle, trainables)
    learned, lora = count_values(collect_trainables(bundle)), bundle.lora
    if lora is not None:
        merge_lora(bundle)
    card = render_card(
        name or trainables.name,
        whole=True,
        base=bundle.base_hash,
        tensors=learned,
        lora=None if lora is None else lora.model_dump(),
        configuration=read_json(trainables / TRAINING) if (trainables / TRAINING).is_file() else None,
    )
    with publishing(out) as staging:
        save_flamingo(bundle, staging)
        write_atomic(staging / CARD, card)
    return {
        "folder": str(out),
        "parameters": sum(tensor.numel() for tensor in named_tensors(bundle.model).values()),
        "bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
    }


def import_model(
    base: Path,
    checkpoints: Sequence[Path],
    out: Path,
    *,
    alpha: int | None = None,
    needs: Sequence[str] | None = None,
    skip_unknown: bool = False,
) -> KeyReport:
    """Turn checkpoints of the original code into a folder as `save_trainables` writes it.

    Args:
        base: Folder of the model the checkpoints were trained from.
        checkpoints: In order, see `model.original.load_original`.
        out: New folder.
        alpha: Of the checkpoints' LoRA, if they have one; None: that of an ``adapter_config.json`` beside the last.
        needs: Groups of weights that must match; default as in `load_original`.
        skip_unknown: See `load_original`.

    Raises:
        ModelError: `out` is in use, or a checkpoint is refused.
    """
    if out.exists() and any(out.iterdir()):
        raise ModelError("the folder to import to is not empty", where=out, next_step="move it away first")
    beside = checkpoints[-1].with_name(ADAPTER_CONFIG)
    if alpha is None and beside.is_file():
        alpha = alpha_of(beside)
    bundle = load_flamingo(base)
    report = load_original(bundle, checkpoints, alpha=alpha, needs=needs, skip_unknown=skip_unknown)
    with publishing(out) as staging:
        configuration = {"checkpoints": [path.name for path in checkpoints], "loaded": report.matched}
        save_trainables(bundle, staging, configuration=configuration, name=out.name)
    return report
