"""``polite-flamingo plan``: what a profile will need, before anything is downloaded or trained.

Parameter counts come from the real architecture on PyTorch's meta device. Memory, steps and hours are estimates; what
they assume is part of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.model.bases import MEGABYTES
from polite_flamingo.params.schema import Params
from polite_flamingo.plan.composition import composition, rows
from polite_flamingo.plan.paper import ADOPTED, KEPT_SHARE, REWRITTEN, TABLE_4
from polite_flamingo.sources.registry import catalogue
from polite_flamingo.train.memory import Workload, flops_per_token, memory

if TYPE_CHECKING:
    from polite_flamingo.model.settings import LoraSettings
    from polite_flamingo.model.shapes import Blueprint, ParameterCounts

TOKENS_PER_SAMPLE = 160  # LLaVA's answers and PF-1M's rewrites, prompt included
SUPERVISED_SHARE = 0.5  # of a dialogue's tokens
ANSWERS_PER_SAMPLE = 2  # of an instruction sample; each answer may be distorted
PAPER_SAMPLES = {  # where nobody knows the number of rows
    "instruction": TABLE_4["stage1"].samples - 97_000,  # section 4.3: the rest is a tenth of PF-1M
    "annotation": REWRITTEN,
    "pf1m": ADOPTED,
}
PAPER_SCALE = 0.9 * REWRITTEN  # annotations from which on the paper's tables stand beside the plan


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
        tokens_per_second: Training throughput of one process; None: as the profile's ``runtime.tflops`` gives.

    Returns:
        ``model``, ``data``, ``trainings`` (one entry per training stage), ``downloads`` and ``warnings``.

    Raises:
        ConfigError: `backbones.flamingo` names parts that are none.
        PoliteFlamingoError: the sizes of a part are not known.
    """
    from polite_flamingo.model.shapes import count

    runtime = params.runtime
    base = _blueprint(params.backbones.flamingo)
    data, warnings = _data(params)
    trainings: dict[str, dict[str, Any]] = {}
    for training in _trainings(params):
        counts = count(base, training.trainable, training.lora, training.resolution)
        trainings[training.name] = _needs(params, training, base, counts, data, tokens_per_second)
    for name, needs in trainings.items():
        memory_gb = needs["memory"]["total"] / 1e9
        if runtime.device_gb is not None and memory_gb > runtime.device_gb:
            warnings.append(
                f"{name}: about {memory_gb:.0f} GB per device, which has {runtime.device_gb:g}: lower "
                "runtime.micro_batch_size, turn on runtime.gradient_checkpointing, or shard (runtime.distributed)"
            )
    if tokens_per_second is None and runtime.tflops is None:
        warnings.append("no hours: give --tokens-per-second, or runtime.tflops in the profile")
    return {
        "profile": params.profile,
        "base": params.backbones.flamingo,
        "processes": runtime.processes,
        "distributed": runtime.distributed,
        "dtype": runtime.dtype,
        "tokens_per_second": tokens_per_second,
        "tflops": runtime.tflops,
        "model": {**counts.parts, "total": counts.total},
        "data": data,
        "trainings": trainings,
        "composition": composition(params) if data["annotation"] >= PAPER_SCALE else [],
        "downloads": _downloads(params),
        "assumed": {
            "tokens per sample": TOKENS_PER_SAMPLE,
            "answers per instruction sample": ANSWERS_PER_SAMPLE,
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
    samples, sequences, tokens = _epochs(params, training, data)
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
    flops = flops_per_token(counts.total, counts.learned, checkpointing=work.checkpointing)
    if rate is None and runtime.tflops is not None:
        rate = runtime.tflops * 1e12 / flops
    paper = TABLE_4[training.name]
    hours, full = (None if rate is None else n / rate / runtime.processes / 3600 for n in (tokens, paper.tokens))
    return {
        "trainable": dict(counts.trainable),
        "learned": counts.learned,
        "total": counts.total,
        "share": counts.learned / counts.total,
        "memory": memory(work),
        "samples": samples,
        "sequences": sequences,
        "tokens": tokens,
        "steps": max(1, round(sequences * training.epochs / training.global_batch_size)),
        "flops_per_token": flops,
        "hours": hours,
        "paper": {**asdict(paper), "steps": paper.steps, "tokens": paper.tokens, "hours_at_this_rate": full},
        "checkpoint_bytes": counts.learned * 4,
    }


def _data(params: Params) -> tuple[dict[str, int], list[str]]:
    """Samples per part (the profile's limits, the catalogue; where nobody knows, the paper's totals) and warnings."""
    counts: dict[str, int] = {}
    warnings: list[str] = []
    for role, paper in PAPER_SAMPLES.items():
        limit: int | None = getattr(params.limits, role)
        found = [rows(params, source) for source in params.sources if source.role == role]
        unknown = sum(row is None for row in found)
        total = sum(row or 0 for row in found)
        if unknown and limit is None:
            total = max(total, paper)
            warnings.append(
                f"{unknown} of {len(found)} {role} datasets do not say beforehand how many rows they have: the paper's "
                f"{paper:,} are assumed"
            )
        elif limit is not None and (unknown or limit < total):
            total = limit
        counts[role] = total
    kept = round(counts["annotation"] * KEPT_SHARE)
    return {**counts, "pf1m": kept + counts["pf1m"], "raw": kept}, warnings


def _epochs(params: Params, training: _TrainingEstimate, data: Mapping[str, int]) -> tuple[int, int, int]:
    """Samples and sequences of one epoch, and tokens of all epochs.

    The rewriter has a pair per sequence. In mode ``paper`` every sample opens a sequence, which draws fill until half a
    sample's room is left on average; the other modes show each sample once.
    """
    if training.mixture is None:
        wanted = sum(sum(pairs.values()) for pairs in params.distort.counts.model_dump().values())
        there = data["instruction"] * ANSWERS_PER_SAMPLE
        pairs = round(min(wanted, there) * (1 - params.distort.held_out_share))
        return pairs, pairs, round(pairs * 2 * TOKENS_PER_SAMPLE * training.epochs)
    samples = sum(round(data[part] * ratio) for part, ratio in training.mixture.items())
    multiturn = params.tune.common.multiturn
    if multiturn.mode == "paper":
        room = training.context_length - TOKENS_PER_SAMPLE // 2
        filled = min(max(TOKENS_PER_SAMPLE, room), TOKENS_PER_SAMPLE * multiturn.max_turns)
        return samples, samples, round(samples * filled * training.epochs)
    fitting = max(1, training.context_length // TOKENS_PER_SAMPLE)
    sequences = math.ceil(samples / min(fitting, multiturn.max_turns))
    return samples, sequences, round(samples * TOKENS_PER_SAMPLE * training.epochs)


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
