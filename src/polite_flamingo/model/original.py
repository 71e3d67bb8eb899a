"""Loading checkpoints of the original code: OpenFlamingo 1 and 2, Clever and Polite Flamingo (appendix A).

They hold what was trained and whatever else their script kept, under several spellings (`model.layouts`). Nothing is
loaded in silence: a `KeyReport` counts what matched, and a checkpoint whose LoRA or cross-attention finds no place, or
only in part, is refused.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.config import CrossAttention, FlamingoConfig, Perceiver
from polite_flamingo.model.freezing import ORDER, group_of
from polite_flamingo.model.layouts import canonical, is_weight, read_tensors, spellings, with_vision
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings

LOG = logging.getLogger(__name__)
DIM_HEAD = 64  # of all published checkpoints
_TABLES = ("embeddings",)  # may have fewer rows than the model: the rest is padding nobody looks up
_LEARNED = ("lora", "perceiver", "xattn")  # there as a whole, or not at all


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What became of a checkpoint's keys.

    Args:
        matched: Tensors that were loaded, per group of weights (`model.freezing.GROUPS`).
        missing: Tensors of the model that the checkpoint does not hold, per group.
        unknown: Keys without a place in the model.
        skipped: Buffers and other keys that are no weights of the model.
    """

    matched: dict[str, int]
    missing: dict[str, int]
    unknown: tuple[str, ...] = ()
    skipped: int = 0

    def __str__(self) -> str:
        """One line per group."""
        groups = [g for g in ORDER if self.matched.get(g) or self.missing.get(g)]
        lines = [f"{g}: {self.matched.get(g, 0)} loaded, {self.missing.get(g, 0)} kept from the base" for g in groups]
        if self.unknown:
            lines.append(f"no place for {len(self.unknown)}: {', '.join(self.unknown[:5])}")
        if self.skipped:
            lines.append(f"{self.skipped} keys are no weights")
        return "\n".join(lines)


def load_original(
    bundle: FlamingoBundle, path: Path, *, alpha: int | None = None, needs: Sequence[str] | None = None
) -> KeyReport:
    """Load a checkpoint of the original code into a model.

    Args:
        bundle: The model the checkpoint was trained from, of the same sizes.
        path: ``.pt`` or ``.safetensors``.
        alpha: Of the checkpoint's LoRA, if it has one: its file tells the rank and not the scale, which is alpha over
            rank. LoRA is injected if the model has none.
        needs: Groups that must match. Default: cross-attention, and LoRA where model or checkpoint have it.

    Raises:
        ModelError: the file cannot be read, its LoRA needs `alpha`, shapes differ, or a needed group matches nothing or
            only in part. The model is untouched then.
    """
    tensors = with_vision(read_tensors(path))
    _prepare_lora(bundle, tensors, alpha, path)
    known = spellings(bundle)
    model = {known[name]: p for name, p in bundle.model.named_parameters(remove_duplicate=False)}
    matches: dict[str, torch.Tensor] = {}
    unknown: list[str] = []
    wrong: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    skipped = 0
    for key, tensor in tensors.items():
        name = canonical(key, known, bundle.config.decoder_layers)
        if name not in model:
            unknown += [key] if is_weight(name) else []
            skipped += not is_weight(name)
        elif not _fits(tensor, model[name], name, len(bundle.tokenizer)):
            wrong.append((key, tuple(tensor.shape), tuple(model[name].shape)))
        elif name in matches and not torch.equal(matches[name], tensor):
            raise ModelError("the checkpoint holds two versions of one tensor", value=key, where=path)
        else:
            matches[name] = tensor
    matched = Counter(group_of(name) for name in matches)
    missing = Counter(group_of(name) for name in model if name not in matches)
    report = KeyReport(dict(matched), dict(missing), tuple(unknown), skipped)
    _refuse(report, wrong, needs, bundle, path)
    with torch.no_grad():
        for name, tensor in matches.items():
            if ".lora_" not in name and name not in bundle.base:
                bundle.base[name] = model[name].detach().cpu().clone()
            model[name][: len(tensor)].copy_(tensor) if tensor.ndim else model[name].copy_(tensor)
    bundle.clear_cache()
    LOG.info("%s:\n%s", path.name, report)
    if unknown:
        LOG.warning("%d keys of the checkpoint have no place in the model: %s", len(unknown), unknown[:5])
    return report


def infer_config(tensors: Mapping[str, torch.Tensor], where: object = None) -> FlamingoConfig:
    """Sizes of the connector, read from an OpenFlamingo checkpoint's tensors.

    Raises:
        ModelError: the tensors are not those of a perceiver and evenly spaced cross-attentions.
    """
    latents = _one(tensors, r"perceiver\.latents$", where)
    inner = _one(tensors, r"perceiver\.layers\.0\.0\.to_q\.weight$", where).shape[0]
    cross = _one(tensors, r"gated_cross_attn_layers?\..*?attn\.to_q\.weight$", where).shape[0]
    depth = 1 + max(int(m[1]) for name in tensors if (m := re.search(r"perceiver\.layers\.(\d+)\.", name)))
    layer = r"\.(\d+)\.gated_cross_attn_layer\.|gated_cross_attn_layers\.(\d+)\."
    blocks = sorted({int(m[1] or m[2]) for name in tensors if (m := re.search(layer, name))})
    every = blocks[0] + 1
    if blocks != [every * (i + 1) - 1 for i in range(len(blocks))] or inner % DIM_HEAD or cross % DIM_HEAD:
        raise ModelError(
            "the checkpoint's connector is not OpenFlamingo's",
            value={"cross-attention before blocks": blocks, "widths": (inner, cross)},
            where=where,
        )
    return FlamingoConfig(
        cross_attn_every_n_layers=every,
        perceiver=Perceiver(depth=depth, num_latents=latents.shape[0], dim_head=DIM_HEAD, heads=inner // DIM_HEAD),
        xattn=CrossAttention(dim_head=DIM_HEAD, heads=cross // DIM_HEAD),
    )


def _one(tensors: Mapping[str, torch.Tensor], pattern: str, where: object) -> torch.Tensor:
    for name, tensor in tensors.items():
        if re.search(pattern, name):
            return tensor
    raise ModelError(
        "the checkpoint lacks a tensor of OpenFlamingo's connector",
        value=pattern,
        where=where,
        next_step="give a checkpoint of OpenFlamingo, not of a language model or an adapter",
    )


def _prepare_lora(bundle: FlamingoBundle, tensors: Mapping[str, torch.Tensor], alpha: int | None, path: Path) -> None:
    ranks = sorted({tensor.shape[0] for name, tensor in tensors.items() if ".lora_A." in name})
    if not ranks or bundle.lora is not None:
        return
    if len(ranks) > 1:
        raise ModelError("the checkpoint holds LoRA of several ranks", value=ranks, where=path)
    if alpha is None:
        raise ModelError(
            f"the checkpoint holds LoRA of rank {ranks[0]}, and its file does not tell alpha, the scale times the rank",
            where=path,
            next_step="say it: --alpha N, or --adapter-config FILE with the adapter_config.json it was trained with "
            "(QLoRA's recipe for 7B, and so Guanaco-7B: 16)",
        )
    inject_lora(bundle, LoraSettings(r=ranks[0], alpha=alpha, dropout=0.0))


def _fits(tensor: torch.Tensor, parameter: torch.Tensor, name: str, vocabulary: int) -> bool:
    if tensor.shape == parameter.shape:
        return True
    table = group_of(name) in _TABLES and tensor.shape[1:] == parameter.shape[1:]
    return table and vocabulary <= len(tensor) < len(parameter)


def _refuse(
    report: KeyReport,
    wrong: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]],
    needs: Sequence[str] | None,
    bundle: FlamingoBundle,
    path: Path,
) -> None:
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors of the checkpoint have another shape (name, checkpoint, model)",
            value=list(wrong[:3]),
            where=path,
            next_step="the model must have the checkpoint's language model, tower and sizes",
        )
    required = needs if needs is not None else ["xattn", *(["lora"] if bundle.lora is not None else [])]
    nothing = [group for group in required if not report.matched.get(group)]
    if nothing:
        raise ModelError(
            f"the checkpoint's {' and '.join(nothing)} matched nothing",
            value=list(report.unknown[:5]),
            where=path,
            next_step="it belongs to another model, or its layout is unknown (docs/checkpoints.md)",
        )
    partial = {
        group: (report.matched[group], report.missing[group])
        for group in _LEARNED
        if report.matched.get(group) and report.missing.get(group)
    }
    if partial:
        raise ModelError(
            "the checkpoint holds only a part of some groups (loaded, missing)",
            value=partial,
            where=path,
            next_step="it is incomplete, or the model has more layers than it",
        )
