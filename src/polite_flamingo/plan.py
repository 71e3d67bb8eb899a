"""``polite-flamingo plan``: what a profile will need, before anything is downloaded or trained.

Parameter counts come from the real architecture on PyTorch's meta device. Memory, steps and hours are estimates; what
they assume is part of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.model.bases import MEGABYTES
from polite_flamingo.params import Params
from polite_flamingo.sources.registry import catalogue
from polite_flamingo.train.memory import Workload, flops_per_token, memory

TOKENS_PER_SAMPLE = 160  # LLaVA's answers and PF-1M's rewrites, prompt included
SUPERVISED_SHARE = 0.5  # of a dialogue's tokens
PAPER_SAMPLES = {"instruction": 300_000, "annotation": 1_170_000}  # responses (appendix B), annotations (section 3.3)
KEPT_SHARE = 975_782 / 1_170_000  # Table 6 over the annotations rewritten (section 3.3)
PAPER = {"stage1": 0.29e9, "stage2": 0.1e9}  # section 4.3: values trained in stages 1 and 2
GB = 1e9


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
    from polite_flamingo.model.settings import LoraSettings
    from polite_flamingo.model.shapes import blueprint, count

    base = params.backbones.flamingo
    if base.startswith("build:") and "|" not in base:
        raise ConfigError(
            "a base that is built needs its parts",
            value=base,
            where="backbones.flamingo",
            next_step="write build:<language model>|<vision tower>, and |<checkpoint> where there is one",
        )
    runtime = params.runtime
    rate = tokens_per_second or runtime.tokens_per_second
    made = blueprint(base)
    data = _data(params)
    warnings: list[str] = list(data.pop("warnings"))
    trainings: dict[str, Any] = {}
    for name, settings, lora, parts in _trainings(params):
        counts = count(
            made,
            settings["trainable"],
            LoraSettings(r=lora.r, alpha=lora.alpha, dropout=lora.dropout),
            None if name == "rewriter" else params.tune.resolution,
        )
        examples, tokens = _examples(params, name, settings, {part: data[part] for part in parts})
        quantized = counts.parts["lm"] - counts.parts["embeddings"] if lora.quantize == "nf4" else 0
        work = Workload(
            frozen=counts.total - counts.learned,
            quantized=quantized,
            learned=counts.learned,
            blocks=made.language.get("num_hidden_layers", 1),
            width=made.language["hidden_size"],
            vocabulary=made.language["vocab_size"] + made.new_tokens,
            tokens=runtime.micro_batch_size * settings["context_length"],
            supervised=int(runtime.micro_batch_size * settings["context_length"] * SUPERVISED_SHARE),
            bf16=runtime.dtype == "bfloat16",
            checkpointing=runtime.gradient_checkpointing,
            processes=runtime.processes,
            zero=int(runtime.distributed[-1]) if runtime.distributed.startswith("zero") else 0,
        )
        needed = memory(work)
        steps = max(1, round(examples * settings["epochs"] / settings["global_batch_size"]))
        trainings[name] = {
            "trainable": dict(counts.trainable),
            "learned": counts.learned,
            "total": counts.total,
            "share": counts.learned / counts.total,
            "paper": PAPER.get(name),
            "memory": needed,
            "examples": examples,
            "tokens": tokens,
            "steps": steps,
            "flops_per_token": flops_per_token(counts.total, counts.learned, checkpointing=work.checkpointing),
            "hours": None if rate is None else tokens / rate / runtime.processes / 3600,
            "checkpoint_bytes": counts.learned * 4,
        }
        if runtime.device_gb is not None and needed["total"] > runtime.device_gb * GB:
            warnings.append(
                f"{name}: about {needed['total'] / GB:.0f} GB per device, which has {runtime.device_gb:g}: lower "
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


def _trainings(params: Params) -> list[tuple[str, dict[str, Any], Any, Sequence[str]]]:
    """Name, settings, LoRA and parts of the data of every training of the profile."""
    found: list[tuple[str, dict[str, Any], Any, Sequence[str]]] = [
        ("rewriter", {**params.rewriter.model_dump(), "trainable": ["lora"]}, params.rewriter.lora, ("instruction",))
    ]
    for name in ("stage1", "stage2", "stage3"):
        stage = getattr(params.tune, name)
        if name == "stage1" and params.tune.skip_stage1:
            continue
        found.append((name, stage.model_dump(), params.tune.lora, tuple(stage.mixture)))
    return found


def _data(params: Params) -> dict[str, Any]:
    """Samples per part, from the profile's limits and the catalogue; where nobody knows, the paper's totals."""
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
    return {**counts, "pf1m": kept, "raw": kept, "warnings": warnings}


def _rows(params: Params, source: Any) -> int | None:
    """Rows of one source; None where only the download will tell."""
    entry = catalogue().get(source.name)
    known = None if entry is None or params.world is not None else entry.splits.get(source.split)
    if source.limit is None:
        return known
    return source.limit if known is None else min(source.limit, known)


def _examples(params: Params, name: str, settings: dict[str, Any], parts: dict[str, int]) -> tuple[int, int]:
    """Sequences of one epoch, and tokens of all: one pair per sequence, or dialogues of several samples."""
    if name == "rewriter":
        samples = round(sum(parts.values()) * (1 - params.distort.held_out_share))
        return samples, round(samples * 2 * TOKENS_PER_SAMPLE * settings["epochs"])
    samples = sum(round(parts[part] * ratio) for part, ratio in settings["mixture"].items())
    fitting = max(1, settings["context_length"] // TOKENS_PER_SAMPLE)
    dialogues = math.ceil(samples / min(fitting, params.tune.multiturn.max_turns))
    return dialogues, round(samples * TOKENS_PER_SAMPLE * settings["epochs"])


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


def render(found: dict[str, Any]) -> str:
    """The plan on one screen."""
    heads = {"learns": 10, "of": 9, "paper": 9, "GB/device": 11, "steps": 9, "tokens": 9, "hours": 8}
    lines = [
        f"profile {found['profile']}: {found['base']}",
        f"  {found['processes']} process(es), {found['distributed']}, {found['dtype']}",
        "",
        "model    " + "  ".join(f"{name} {_short(n)}" for name, n in found["model"].items() if n),
        "samples  " + "  ".join(f"{name} {n:,}" for name, n in found["data"].items() if name != "raw"),
        "",
        f"{'training':<10}" + "".join(f"{head:>{width}}" for head, width in heads.items()) + "  what learns",
    ]
    for name, one in found["trainings"].items():
        lines.append(
            f"{name:<10}{_short(one['learned']):>10}{_short(one['total']):>9}{_short(one['paper']):>9}"
            f"{one['memory']['total'] / GB:>11.1f}{one['steps']:>9,}{_short(one['tokens']):>9}"
            f"{'-' if one['hours'] is None else format(one['hours'], '.1f'):>8}  "
            + ", ".join(f"{group} {_short(n)}" for group, n in one["trainable"].items())
        )
        parts = ", ".join(f"{k} {v / GB:.1f}" for k, v in one["memory"].items() if k != "total")
        lines.append(f"{'':<10}memory per device, GB: {parts}")
    downloads = found["downloads"]
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
    lines += ["", "assumed  " + "; ".join(f"{k} {v}" for k, v in found["assumed"].items())]
    lines += [f"warning: {line}" for line in found["warnings"]]
    return "\n".join(lines)


def _short(number: float | None) -> str:
    if number is None:
        return "-"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}" if number / size < 100 else f"{number / size:.0f}{letter}"
    return f"{number:.0f}"
