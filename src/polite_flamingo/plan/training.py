"""``polite-flamingo plan``: what a profile will need, before anything is downloaded or trained.

Parameter counts come from the real architecture on PyTorch's meta device. Memory, steps and hours are estimates; what
they assume is part of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.model.bases import MEGABYTES
from polite_flamingo.params import Params
from polite_flamingo.sources.registry import catalogue
from polite_flamingo.train.memory import Workload, flops_per_token, memory

if TYPE_CHECKING:
    from polite_flamingo.model.settings import LoraSettings
    from polite_flamingo.model.shapes import Blueprint, ParameterCounts

TOKENS_PER_SAMPLE = 160  # LLaVA's answers and PF-1M's rewrites, prompt included
SUPERVISED_SHARE = 0.5  # of a dialogue's tokens
PAPER_SAMPLES = {"instruction": 300_000, "annotation": 1_170_000}  # responses (appendix B), annotations (Figure 10)
KEPT_SHARE = 975_782 / 1_170_000  # Table 6 over the annotations rewritten (Figure 10)
PAPER = {"stage1": 0.29e9, "stage2": 0.1e9}  # Table 4: values trained in stages 1 and 2
GB = 1e9


@dataclass(frozen=True, slots=True)
class _TrainingEstimate:
    """What of a training decides its cost; `mixture` is None for the rewriter, which learns one pair per sequence."""

    name: str
    trainable: Sequence[str]
    lora: LoraSettings
    quantize: str
    resolution: int | None
    context_length: int
    epochs: float
    global_batch_size: int
    mixture: Mapping[str, float] | None = None


def plan(params: Params, *, tokens_per_second: float | None = None) -> dict[str, Any]:
    """Everything that can be known of a profile beforehand.

    Args:
        params: The resolved parameters.
        tokens_per_second: Training throughput of one process; None: the profile's ``runtime.tokens_per_second``.

    Returns:
        ``model``, ``data``, ``trainings`` (one entry per training stage), ``downloads`` and ``warnings``.

    Raises:
        ConfigError: `backbones.flamingo` names parts that are none.
        PoliteFlamingoError: the sizes of a part are not known.
    """
    from polite_flamingo.model.shapes import count

    runtime = params.runtime
    rate = tokens_per_second or runtime.tokens_per_second
    base = _blueprint(params.backbones.flamingo)
    data, warnings = _data(params)
    trainings: dict[str, dict[str, Any]] = {}
    for training in _trainings(params):
        counts = count(base, training.trainable, training.lora, training.resolution)
        trainings[training.name] = _needs(params, training, base, counts, data, rate)
    for name, needs in trainings.items():
        memory_gb = needs["memory"]["total"] / GB
        if runtime.device_gb is not None and memory_gb > runtime.device_gb:
            warnings.append(
                f"{name}: about {memory_gb:.0f} GB per device, which has {runtime.device_gb:g}: lower "
                "runtime.micro_batch_size, turn on runtime.gradient_checkpointing, or shard (runtime.distributed)"
            )
    if rate is None:
        warnings.append("no hours: give --tokens-per-second, or runtime.tokens_per_second in the profile")
    return {
        "profile": params.profile,
        "base": params.backbones.flamingo,
        "processes": runtime.processes,
        "distributed": runtime.distributed,
        "dtype": runtime.dtype,
        "tokens_per_second": rate,
        "model": {**counts.parts, "total": counts.total},
        "data": data,
        "trainings": trainings,
        "downloads": _downloads(params),
        "assumed": {
            "tokens per sample": TOKENS_PER_SAMPLE,
            "supervised share of the tokens": SUPERVISED_SHARE,
            "annotations the filters keep": round(KEPT_SHARE, 3),
        },
        "warnings": warnings,
    }


def _blueprint(base: str) -> Blueprint:
    from polite_flamingo.model.shapes import blueprint

    if base.startswith("build:") and "|" not in base:
        raise ConfigError(
            "a base that is built needs its parts",
            value=base,
            where="backbones.flamingo",
            next_step="write build:<language model>|<vision tower>, and |<checkpoint> where there is one",
        )
    return blueprint(base)


def _trainings(params: Params) -> Iterator[_TrainingEstimate]:
    """Every training of the profile, in their order."""
    rewriter, tune = params.rewriter, params.tune
    yield _TrainingEstimate(
        "rewriter",
        ["lora"],
        rewriter.lora,
        rewriter.lora.quantize,
        None,
        rewriter.context_length,
        rewriter.epochs,
        rewriter.global_batch_size,
    )
    for name in ("stage1", "stage2", "stage3") if params.tunes else ():
        stage = getattr(tune, name)
        if name == "stage1" and tune.skip_stage1:
            continue
        yield _TrainingEstimate(
            name,
            stage.trainable,
            tune.common.lora,
            tune.common.lora.quantize,
            tune.common.resolution,
            stage.context_length,
            stage.epochs,
            stage.global_batch_size,
            stage.mixture,
        )


def _needs(
    params: Params,
    training: _TrainingEstimate,
    base: Blueprint,
    counts: ParameterCounts,
    data: Mapping[str, int],
    rate: float | None,
) -> dict[str, Any]:
    """Memory, steps, operations and hours of one training."""
    runtime = params.runtime
    examples, tokens = _examples(params, training, data)
    work = Workload(
        frozen=counts.total - counts.learned,
        quantized=counts.parts["lm"] - counts.parts["embeddings"] if training.quantize == "nf4" else 0,
        learned=counts.learned,
        blocks=base.language.get("num_hidden_layers", 1),
        width=base.language["hidden_size"],
        vocabulary=base.language["vocab_size"] + base.new_tokens,
        tokens=runtime.micro_batch_size * training.context_length,
        supervised=int(runtime.micro_batch_size * training.context_length * SUPERVISED_SHARE),
        bf16=runtime.dtype == "bfloat16",
        checkpointing=runtime.gradient_checkpointing,
        processes=runtime.processes,
        zero=int(runtime.distributed[-1]) if runtime.distributed.startswith("zero") else 0,
    )
    return {
        "trainable": dict(counts.trainable),
        "learned": counts.learned,
        "total": counts.total,
        "share": counts.learned / counts.total,
        "paper": PAPER.get(training.name),
        "memory": memory(work),
        "examples": examples,
        "tokens": tokens,
        "steps": max(1, round(examples * training.epochs / training.global_batch_size)),
        "flops_per_token": flops_per_token(counts.total, counts.learned, checkpointing=work.checkpointing),
        "hours": None if rate is None else tokens / rate / runtime.processes / 3600,
        "checkpoint_bytes": counts.learned * 4,
    }


def _data(params: Params) -> tuple[dict[str, int], list[str]]:
    """Samples per part (the profile's limits, the catalogue; where nobody knows, the paper's totals) and warnings."""
    counts: dict[str, int] = {}
    warnings: list[str] = []
    for role, paper in PAPER_SAMPLES.items():
        limit = getattr(params.limits, role)
        rows = [_rows(params, source) for source in params.sources if source.role == role]
        unknown = sum(row is None for row in rows)
        total = sum(row or 0 for row in rows)
        if unknown and limit is None:
            total = max(total, paper)
            warnings.append(
                f"{unknown} of {len(rows)} {role} datasets do not say beforehand how many rows they have: the paper's "
                f"{paper:,} are assumed"
            )
        elif unknown or (limit is not None and limit < total):
            total = limit
        counts[role] = total
    kept = round(counts["annotation"] * KEPT_SHARE)
    return {**counts, "pf1m": kept, "raw": kept}, warnings


def _rows(params: Params, source: Any) -> int | None:
    """Rows of one source; None where only the download will tell."""
    entry = catalogue().get(source.name)
    known = None if entry is None or params.world is not None else entry.splits.get(source.split)
    if source.limit is None:
        return known
    return source.limit if known is None else min(source.limit, known)


def _examples(params: Params, training: _TrainingEstimate, data: Mapping[str, int]) -> tuple[int, int]:
    """Sequences of one epoch, and tokens of all: one pair per sequence, or dialogues of several samples."""
    if training.mixture is None:
        samples = round(data["instruction"] * (1 - params.distort.held_out_share))
        return samples, round(samples * 2 * TOKENS_PER_SAMPLE * training.epochs)
    samples = sum(round(data[part] * ratio) for part, ratio in training.mixture.items())
    fitting = max(1, training.context_length // TOKENS_PER_SAMPLE)
    dialogues = math.ceil(samples / min(fitting, params.tune.common.multiturn.max_turns))
    return dialogues, round(samples * TOKENS_PER_SAMPLE * training.epochs)


def _downloads(params: Params) -> dict[str, Any]:
    """Megabytes per model and bytes per dataset, where they are known; nothing for what is on the machine."""
    models: dict[str, int | None] = {}
    origins = [*params.backbones.flamingo.removeprefix("build:").split("|")]
    origins += [value for key, value in params.backbones.model_dump().items() if key != "flamingo"]
    origins += [spec.replace("hf:", "hub:") for spec in (params.distortion_backend, params.rewriter_backend)]
    for origin in origins:
        kind, _, rest = origin.partition(":")
        if kind == "hub":
            models[rest] = MEGABYTES.get(rest.partition("@")[0])
    datasets: dict[str, int | None] = {}
    if params.world is None:
        for source in params.sources:
            entry = catalogue().get(source.name)
            sizes = [file.bytes for file in entry.files] if entry else []
            known = [size for size in sizes if size is not None]
            datasets[source.name] = sum(known) if known and len(known) == len(sizes) else None
    return {
        "models_mb": models,
        "models_total_mb": sum(size or 0 for size in models.values()),
        "datasets_bytes": datasets,
        "datasets_without_size": sorted(name for name, size in datasets.items() if size is None),
    }


def render(forecast: dict[str, Any]) -> str:
    """The plan on one screen."""
    heads = {"learns": 10, "of": 9, "paper": 9, "GB/device": 11, "steps": 9, "tokens": 9, "hours": 8}
    lines = [
        f"profile {forecast['profile']}: {forecast['base']}",
        f"  {forecast['processes']} process(es), {forecast['distributed']}, {forecast['dtype']}",
        "",
        "model    " + "  ".join(f"{name} {_short(n)}" for name, n in forecast["model"].items() if n),
        "samples  " + "  ".join(f"{name} {n:,}" for name, n in forecast["data"].items() if name != "raw"),
        "",
        f"{'training':<10}" + "".join(f"{head:>{width}}" for head, width in heads.items()) + "  what learns",
    ]
    for name, one in forecast["trainings"].items():
        lines.append(
            f"{name:<10}{_short(one['learned']):>10}{_short(one['total']):>9}{_short(one['paper']):>9}"
            f"{one['memory']['total'] / GB:>11.1f}{one['steps']:>9,}{_short(one['tokens']):>9}"
            f"{'-' if one['hours'] is None else format(one['hours'], '.1f'):>8}  "
            + ", ".join(f"{group} {_short(n)}" for group, n in one["trainable"].items())
        )
        parts = ", ".join(f"{k} {v / GB:.1f}" for k, v in one["memory"].items() if k != "total")
        lines.append(f"{'':<10}memory per device, GB: {parts}")
    downloads = forecast["downloads"]
    lines += ["", "downloads"]
    for name, size in downloads["models_mb"].items():
        lines.append(f"  {name:<70}{'size unknown' if size is None else f'{size:,} MB':>14}")
    if downloads["models_mb"]:
        lines.append(f"  {'models together':<70}{downloads['models_total_mb']:>11,} MB")
    else:
        lines.append("  no model: everything is on this machine")
    without = downloads["datasets_without_size"]
    if without:
        lines.append(f"  {len(without)} datasets of unpublished size (`polite-flamingo sources` knows what is here)")
    lines += ["", "assumed  " + "; ".join(f"{k} {v}" for k, v in forecast["assumed"].items())]
    lines += [f"warning: {line}" for line in forecast["warnings"]]
    return "\n".join(lines)


def _short(number: float | None) -> str:
    if number is None:
        return "-"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}" if number / size < 100 else f"{number / size:.0f}{letter}"
    return f"{number:.0f}"
