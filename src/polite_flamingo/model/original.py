"""Loading checkpoints of the original code: OpenFlamingo 1 and 2, Clever and Polite Flamingo (appendix A).

They hold what was trained and whatever else their script kept, under several spellings (`model.layouts`). As in the
authors' inference several files stack: OpenFlamingo's own, then those of stages, and a tensor of a later file replaces
that of an earlier one. Nothing is loaded in silence: a `KeyReport` counts what matched, and refused is a file without
any tensor of the model, a key without a place, LoRA that is not whole, and a connector that all files together give
only in part.

Clever Flamingo v2 has LoRA on the cross-attention too. It is folded into the cross-attention's weights here, since
training puts LoRA on the decoder alone.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
_ADAPTER = re.compile(r"\.lora_([AB])(\.default)?\.weight$")
_SHOWN = 5  # names in a message


@dataclass(frozen=True, slots=True)
class FileReport:
    """What one checkpoint gave.

    Args:
        name: Of the file.
        matched: Tensors with a place in the model, per group of weights (`model.freezing.GROUPS`).
        replaced: How many of them an earlier file had given.
        folded: Weights of the cross-attention that its LoRA was folded into.
        skipped: Buffers and other keys that are no weights of the model.
    """

    name: str
    matched: Mapping[str, int]
    replaced: int = 0
    folded: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        """One line."""
        parts = [f"{group} {self.matched[group]}" for group in ORDER if self.matched.get(group)]
        parts += [f"LoRA folded into {self.folded} weights of the cross-attention"] if self.folded else []
        parts += [f"{self.replaced} replace those of an earlier file"] if self.replaced else []
        parts += [f"{self.skipped} keys are no weights"] if self.skipped else []
        return f"{self.name}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What became of the keys of all checkpoints together.

    Args:
        matched: Tensors that were loaded, per group of weights (`model.freezing.GROUPS`).
        missing: Tensors of the model that no checkpoint holds, per group.
        unknown: Keys without a place in the model, left out.
        files: What each file gave, in order.
    """

    matched: dict[str, int]
    missing: dict[str, int]
    unknown: tuple[str, ...] = ()
    files: tuple[FileReport, ...] = ()

    def __str__(self) -> str:
        """One line per file, then one per group."""
        groups = [g for g in ORDER if self.matched.get(g) or self.missing.get(g)]
        lines = [str(file) for file in self.files]
        lines += [f"{g}: {self.matched.get(g, 0)} loaded, {self.missing.get(g, 0)} kept from the base" for g in groups]
        if self.unknown:
            lines.append(f"left out, no place for {len(self.unknown)}: {', '.join(self.unknown[:_SHOWN])}")
        return "\n".join(lines)


@dataclass(slots=True)
class _Sorted:
    """A file's tensors by the model's names; `adapters` are LoRA of the cross-attention: weight -> A, B."""

    path: Path
    matches: dict[str, torch.Tensor] = field(default_factory=dict)
    adapters: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    wrong: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    skipped: int = 0


def load_original(
    bundle: FlamingoBundle,
    paths: Path | Sequence[Path],
    *,
    alpha: int | None = None,
    needs: Sequence[str] | None = None,
    skip_unknown: bool = False,
) -> KeyReport:
    """Load a checkpoint of the original code into a model, or several in order.

    Args:
        bundle: The model the checkpoints were trained from, of the same sizes.
        paths: ``.pt`` or ``.safetensors``; tensors of a later file replace those of an earlier one.
        alpha: Of their LoRA, if they have one: a file tells the rank and not the scale, which is alpha over rank. LoRA
            is injected if the model has none.
        needs: Groups that must match. Default: cross-attention, and LoRA where model or checkpoints have it.
        skip_unknown: Leave out keys without a place in the model, LoRA excepted, instead of refusing them.

    Raises:
        ModelError: a file cannot be read or gives nothing, its LoRA needs `alpha` or is not whole, shapes differ, a key
            has no place, or a needed group matches nothing or only in part. The model's weights are untouched then.
    """
    contents = [(path, with_vision(read_tensors(path))) for path in ([paths] if isinstance(paths, Path) else paths)]
    _prepare_lora(bundle, contents, alpha)
    known = spellings(bundle)
    model = {known[name]: p for name, p in bundle.model.named_parameters(remove_duplicate=False)}
    files = [_sort(bundle, path, tensors, known, model) for path, tensors in contents]
    report = _report(files, model)
    _refuse_files(files, model, skip_unknown)
    _refuse_groups(report, files, needs if needs is not None else _needed(bundle), model)
    with torch.no_grad():
        for name, tensor in {name: tensor for file in files for name, tensor in file.matches.items()}.items():
            _keep_base(bundle, name, model[name])
            model[name][: len(tensor)].copy_(tensor) if tensor.ndim else model[name].copy_(tensor)
        for name, pair in {name: pair for file in files for name, pair in file.adapters.items()}.items():
            _keep_base(bundle, name, model[name])
            scale = (alpha or bundle.lora.alpha) / len(pair["A"])
            model[name].add_(scale * pair["B"].to(model[name]) @ pair["A"].to(model[name]))
    bundle.clear_cache()
    LOG.info("%s", report)
    return report


def _keep_base(bundle: FlamingoBundle, name: str, tensor: torch.Tensor) -> None:
    """Remember what the base had, so that what differs from it is saved."""
    if ".lora_" not in name and name not in bundle.base:
        bundle.base[name] = tensor.detach().cpu().clone()


def _sort(
    bundle: FlamingoBundle,
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    known: Mapping[str, str],
    model: Mapping[str, torch.Tensor],
) -> _Sorted:
    """Give every tensor of a file its name in the model."""
    file = _Sorted(path)
    for key, tensor in tensors.items():
        adapter = _ADAPTER.search(key)
        weight = canonical(f"{key[: adapter.start()]}.weight", known, bundle.config.decoder_layers) if adapter else ""
        if adapter and ".gated_cross_attn_layers." in weight and weight in model:
            file.adapters.setdefault(weight, {})[adapter[1]] = tensor
            continue
        name = canonical(key, known, bundle.config.decoder_layers)
        if name not in model:
            file.unknown += [key] if is_weight(name) else []
            file.skipped += not is_weight(name)
        elif not _fits(tensor, model[name], name, len(bundle.tokenizer)):
            file.wrong.append((key, tuple(tensor.shape), tuple(model[name].shape)))
        elif name in file.matches and not torch.equal(file.matches[name], tensor):
            raise ModelError("the checkpoint holds two versions of one tensor", value=key, where=path)
        else:
            file.matches[name] = tensor
    for name, pair in file.adapters.items():
        shapes = {side: tuple(tensor.shape) for side, tensor in pair.items()}
        rows, columns = model[name].shape
        rank = shapes.get("A", (0,))[0]
        if shapes != {"A": (rank, columns), "B": (rows, rank)}:
            file.wrong.append((f"LoRA of {name}", shapes.get("B", ()) + shapes.get("A", ()), (rows, columns)))
    return file


def _report(files: Sequence[_Sorted], model: Mapping[str, torch.Tensor]) -> KeyReport:
    given: set[str] = set()
    reports = []
    for file in files:
        counts = Counter(group_of(name) for name in file.matches)
        replaced = len(given & set(file.matches))
        reports.append(FileReport(file.path.name, dict(counts), replaced, len(file.adapters), file.skipped))
        given |= set(file.matches)
    matched = Counter(group_of(name) for name in given)
    missing = Counter(group_of(name) for name in model if name not in given)
    unknown = tuple(key for file in files for key in file.unknown)
    return KeyReport(dict(matched), dict(missing), unknown, tuple(reports))


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


def _prepare_lora(
    bundle: FlamingoBundle, contents: Sequence[tuple[Path, Mapping[str, torch.Tensor]]], alpha: int | None
) -> None:
    """Refuse LoRA of unknown scale, and put LoRA of the checkpoints' rank on the decoder if it has none."""
    adapters = [
        (path, name, len(tensor))
        for path, tensors in contents
        for name, tensor in tensors.items()
        if (match := _ADAPTER.search(name)) and match[1] == "A"
    ]
    if not adapters or bundle.lora is not None:
        return
    path = adapters[0][0]
    ranks = sorted({rank for _, name, rank in adapters if "gated_cross_attn" not in name})
    if len(ranks) > 1:
        raise ModelError("the checkpoint holds LoRA of several ranks", value=ranks, where=path)
    if alpha is None:
        raise ModelError(
            f"the checkpoint holds LoRA of rank {adapters[0][2]}, and its file does not tell alpha, the scale times "
            "the rank",
            where=path,
            next_step="say it: --alpha N, or --adapter-config FILE with the adapter_config.json it was trained with "
            "(QLoRA's recipe for 7B, and so Guanaco-7B: 16; Clever Flamingo v2: 64)",
        )
    if ranks:
        inject_lora(bundle, LoraSettings(r=ranks[0], alpha=alpha, dropout=0.0))


def _needed(bundle: FlamingoBundle) -> list[str]:
    return ["xattn", *(["lora"] if bundle.lora is not None else [])]


def _fits(tensor: torch.Tensor, parameter: torch.Tensor, name: str, vocabulary: int) -> bool:
    if tensor.shape == parameter.shape:
        return True
    table = group_of(name) in _TABLES and tensor.shape[1:] == parameter.shape[1:]
    return table and vocabulary <= len(tensor) < len(parameter)


def _refuse_files(files: Sequence[_Sorted], model: Mapping[str, torch.Tensor], skip_unknown: bool) -> None:
    """Refuse what is wrong with one file, whatever the others hold."""
    lora = {name for name in model if group_of(name) == "lora"}
    for file in files:
        if file.wrong:
            raise ModelError(
                f"{len(file.wrong)} tensors of the checkpoint have another shape (name, checkpoint, model)",
                value=file.wrong[:3],
                where=file.path,
                next_step="the model must have the checkpoint's language model, tower and sizes",
            )
        if not file.matches and not file.adapters:
            raise ModelError(
                "the checkpoint has no tensor of this model",
                value=file.unknown[:_SHOWN],
                where=file.path,
                next_step="it belongs to another model, or its layout is unknown (docs/checkpoints.md)",
            )
        absent = sorted(lora - set(file.matches))
        if absent and len(absent) < len(lora):
            raise ModelError(
                f"the checkpoint holds only a part of the LoRA: {len(lora) - len(absent)} of {len(lora)} tensors",
                value=absent[:_SHOWN],
                where=file.path,
                next_step="it is incomplete, or the model has more layers than it",
            )
        unknown = [key for key in file.unknown if not skip_unknown or ".lora_" in key]
        if unknown:
            raise ModelError(
                f"{len(unknown)} keys of the checkpoint have no place in the model",
                value=unknown[:_SHOWN],
                where=file.path,
                next_step="see whether it belongs to this base; to leave out what is no LoRA: import-model "
                "--skip-unknown, or |skip_unknown=true in a build: origin",
            )


def _refuse_groups(
    report: KeyReport, files: Sequence[_Sorted], needs: Sequence[str], model: Mapping[str, torch.Tensor]
) -> None:
    """Refuse what all files together lack."""
    where = ", ".join(str(file.path) for file in files)
    nothing = [group for group in needs if not report.matched.get(group)]
    if nothing:
        raise ModelError(
            f"the checkpoint's {' and '.join(nothing)} matched nothing",
            value=list(report.unknown[:_SHOWN]),
            where=where,
            next_step="it belongs to another model, its layout is unknown, or a file that belongs before it was not "
            "given (docs/checkpoints.md)",
        )
    given = {name for file in files for name in file.matches}
    partial = {
        group: sorted(name for name in model if group_of(name) == group and name not in given)[:_SHOWN]
        for group in _LEARNED
        if report.matched.get(group) and report.missing.get(group)
    }
    if partial:
        raise ModelError(
            "the checkpoint holds only a part of some groups (group, what is missing)",
            value=partial,
            where=where,
            next_step="it is incomplete, the model has more layers than it, or a file that belongs before it was not "
            "given",
        )
