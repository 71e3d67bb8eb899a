"""``polite-flamingo plan --records N``: what curation of N records takes, on M nodes; arithmetic over `costs`.

Everything grows with the records and nothing faster (docs/scale.md has the measurements): the table of a billion is a
thousand times that of a million. What does not shrink with the nodes is the driver, one process per stage, and what a
few stages hold of every record; the table says into how many slices, each with a driver of its own, the input has to go
for the GPUs to be busy and the memory to suffice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.plan.costs import Costs, CurationCosts

ROWS_PER_SHARD = 10_000  # io.shards.write_shards
BANDS, ROW_BYTES = 16, 152  # filter.near_duplicates, filter.sets
VERDICT_BYTES = 18  # filter.sets: two scores and two flags of a record, paged by the system
BASE_BYTES = 550e6  # memory of a stage's process, models aside
ID_BYTES, IMAGE_BYTES = 90, 173  # memory of stage download per record and per image it has read
OBJECT_BYTES = 176  # memory of stage score per image with named objects
MANIFEST_BYTES = 0.38  # memory of a journal per record
FRAME_BYTES = 1650  # memory of a gate per record: Great Expectations takes a frame
MODELS = ("rewrite", "clip", "nli", "reward", "sts")


def curation(records: Sequence[int], costs: Costs, *, nodes: int = 1, gpus_per_node: int = 8) -> dict[str, Any]:
    """What curation of each number of records takes.

    Args:
        records: Annotations to rewrite, score and filter.
        costs: Costs per record.
        nodes: Ray nodes.
        gpus_per_node: GPUs of each.

    Returns:
        ``sizes``: one entry per number of records; ``assumed``: every figure with its origin; the cluster.

    Raises:
        ConfigError: there are no records, no nodes or no GPUs.
    """
    for name, number in (
        ("--records", min(records, default=0)),
        ("--nodes", nodes),
        ("--gpus-per-node", gpus_per_node),
    ):
        if number < 1:
            raise ConfigError("must be at least 1", value=number, where=name)
    return {
        "nodes": nodes,
        "gpus": nodes * gpus_per_node,
        "sizes": [_size(count, costs.values, nodes * gpus_per_node) for count in records],
        "assumed": {
            name: {"value": value, "origin": costs.origins[name], "what": CurationCosts.model_fields[name].description}
            for name, value in costs.values.model_dump().items()
        },
    }


def _size(records: int, costs: CurationCosts, gpus: int) -> dict[str, Any]:
    asked = {
        "rewrite": records * costs.tries,
        "clip": records * costs.captions,
        "nli": records * costs.questions,
        "reward": records,
        "sts": records,
    }
    gpu_hours = {name: asked[name] / getattr(costs, name) / 3600 for name in MODELS}
    driver_hours = {
        stage: records * getattr(costs, f"{stage}_ms") / 3.6e6 for stage in ("rewrite", "score", "filter", "gates")
    }
    gpu_of_stage = {"rewrite": gpu_hours["rewrite"], "score": sum(gpu_hours[name] for name in MODELS[1:])}
    growing = {  # memory in bytes
        "download": records * (ID_BYTES + costs.images * IMAGE_BYTES),
        "rewrite": records * MANIFEST_BYTES,
        "score": records * (costs.images * OBJECT_BYTES + MANIFEST_BYTES),
        "filter": records * costs.kept,
        "gates": records * FRAME_BYTES,
    }
    for_gpus = max(math.ceil(driver_hours[stage] * gpus / hours) for stage, hours in gpu_of_stage.items())
    for_memory = math.ceil(max(growing.values()) / (costs.memory_gb * 1e9 - BASE_BYTES))
    slices = max(1, for_gpus, for_memory)
    wall = {stage: max(gpu_of_stage.get(stage, 0.0) / gpus, hours / slices) for stage, hours in driver_hours.items()}
    kept = round(records * costs.kept)
    regrouped = kept * ROW_BYTES * BANDS * 3  # each band is read, written to its partition and read again
    storage = {
        "images": records * costs.images * costs.image_bytes,
        "samples": records * costs.samples_bytes,
        "rewrites": records * costs.rewrites_bytes,
        "scored": records * costs.scored_bytes,
        "pf1m": records * costs.pf1m_bytes,
        "journals, until published": records * costs.journal_bytes,
        "near duplicates, while filtering": kept * ROW_BYTES * 2 + records * VERDICT_BYTES,
    }
    tokens = records * costs.tries
    return {
        "records": records,
        "kept": kept,
        "gpu_hours": gpu_hours,
        "gpu_hours_total": sum(gpu_hours.values()),
        "gpu_money": sum(gpu_hours.values()) * costs.gpu_hour,
        "endpoint_tokens": {
            "in": tokens * (costs.tokens_in + costs.tokens_image), "out": tokens * costs.tokens_out,
        },
        "endpoint_money": tokens
        * ((costs.tokens_in + costs.tokens_image) * costs.price_in + costs.tokens_out * costs.price_out)
        / 1e6,
        "driver_hours": driver_hours,
        "slices": slices,
        "wall_hours": wall,
        "wall_hours_total": sum(wall.values()),
        "storage_bytes": storage,
        "storage_bytes_total": sum(storage.values()),
        "shards": math.ceil(records / ROWS_PER_SHARD),
        "regrouped_bytes": regrouped,
        "regrouping_hours": regrouped / costs.disk_mb / 1e6 / 3600,
        "memory_bytes": {stage: BASE_BYTES + grown / slices for stage, grown in growing.items()},
    }  # fmt: skip


def render(forecast: dict[str, Any]) -> str:
    """The plan as one table, a column per number of records."""
    sizes = forecast["sizes"]
    lines = [f"curation on {forecast['nodes']} node(s), {forecast['gpus']} GPU(s)", ""]

    def row(name: str, values: Sequence[str]) -> None:
        lines.append(f"{name:<44}" + "".join(f"{value:>14}" for value in values))

    def part(title: str, key: str, form: Any) -> None:
        lines.append(title)
        for name in sizes[0][key]:
            row(f"  {name}", [form(size[key][name]) for size in sizes])
        if f"{key}_total" in sizes[0]:
            row("  together", [form(size[f"{key}_total"]) for size in sizes])

    row("records", [_count(size["records"]) for size in sizes])
    row("kept", [_count(size["kept"]) for size in sizes])
    part("GPU hours", "gpu_hours", _number)
    if sizes[0]["gpu_money"]:
        row("  money", [_number(size["gpu_money"]) for size in sizes])
    part("an endpoint instead of the rewriter: tokens", "endpoint_tokens", _count)
    row("  money", [_number(size["endpoint_money"]) if size["endpoint_money"] else "-" for size in sizes])
    part("hours of one driver process", "driver_hours", _number)
    row("  slices of the input", [f"{size['slices']:,}" for size in sizes])
    part("hours on the clock, in so many slices", "wall_hours", _number)
    part("storage", "storage_bytes", _bytes)
    row("  shards of each output", [f"{size['shards']:,}" for size in sizes])
    lines.append("shuffles: none; near duplicates are regrouped by band, on disk")
    row("  moved", [_bytes(size["regrouped_bytes"]) for size in sizes])
    row("  hours", [_number(size["regrouping_hours"]) for size in sizes])
    part("memory of a stage's process, per slice", "memory_bytes", _bytes)
    lines += ["", "per record (state another with --assume NAME=VALUE)"]
    for name, figure in forecast["assumed"].items():
        lines.append(f"  {name:<15}{figure['value']:>12,.4g}  {figure['origin']:<42}  {figure['what']}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _count(value: float) -> str:
    return next((f"{value / size:.4g}{letter}" for size, letter in _SIZES if value >= size), f"{value:.0f}")


def _bytes(value: float) -> str:
    return next((f"{value / size:.3g} {unit}" for size, unit in _UNITS if value >= size), f"{value:.0f} B")


_SIZES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
