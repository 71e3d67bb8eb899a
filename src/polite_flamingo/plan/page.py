"""A plan as text, on one screen; at the paper's scale beside its tables."""

from __future__ import annotations

from typing import Any

from polite_flamingo.plan import composition
from polite_flamingo.plan.paper import TABLE_4

GB = 1e9


def render(forecast: dict[str, Any]) -> str:
    """The plan on one screen."""
    trainings: dict[str, dict[str, Any]] = forecast["trainings"]
    lines = [
        f"profile {forecast['profile']}: {forecast['base']}",
        f"  {forecast['processes']} process(es), {forecast['distributed']}, {forecast['dtype']}",
        "",
        "model    " + "  ".join(f"{name} {_short(n)}" for name, n in forecast["model"].items() if n),
        "samples  " + "  ".join(f"{name} {n:,}" for name, n in forecast["data"].items() if name != "raw"),
        "",
        _row("training", "learns", "GB/device", "samples", "sequences", "steps", "tokens", "hours") + "  what learns",
    ]
    for name, one in trainings.items():
        lines.append(
            _row(
                name,
                *(_short(one["learned"]), f"{one['memory']['total'] / GB:.1f}", *_counts(one)),
                _hours(one["hours"]),
            )
            + "  "
            + ", ".join(f"{group} {_short(n)}" for group, n in one["trainable"].items())
        )
        parts = ", ".join(f"{k} {v / GB:.1f}" for k, v in one["memory"].items() if k != "total")
        lines.append(f"{'':<10}memory per device, GB: {parts}")
    if forecast["composition"]:
        lines += ["", *_beside_table_4(forecast), "", *composition.render(forecast["composition"])]
    lines += ["", *_render_downloads(forecast["downloads"])]
    lines += ["", "assumed  " + "; ".join(f"{k} {v}" for k, v in forecast["assumed"].items())]
    lines += [f"warning: {line}" for line in forecast["warnings"]]
    return "\n".join(lines)


def _beside_table_4(forecast: dict[str, Any]) -> list[str]:
    """The paper's trainings: their counts, its hours, and what they take at the plan's throughput."""
    measured, tflops = forecast["tokens_per_second"], forecast["tflops"]
    rate = f"at {tflops or 0:g} TFLOPS" if measured is None else f"at {measured:g} tokens/s"
    lines = [_row("Table 4", "learns", "", "samples", "sequences", "steps", "tokens", "hours") + f"  hours {rate}"]
    for name, one in forecast["trainings"].items():
        paper = one["paper"]
        counts = (f"{paper['samples']:,}", f"{paper['samples']:,}", f"{paper['steps']:,}", _short(paper["tokens"]))
        at_rate = f"  {_hours(paper['hours_at_this_rate'])}, every sequence full"
        lines.append(_row(name, _short(paper["learned"]), "", *counts, _hours(paper["hours"])) + at_rate)
    lora, embeddings = forecast["model"]["lora"], forecast["model"]["embeddings"] // 2  # of those, half at the output
    stay = f"LoRA {_short(lora)} and input embeddings {_short(embeddings)}, which stay as they are here"
    return [*lines, f"{'':<10}{_short(TABLE_4['rewriter'].learned)}: {stay}"]


def _render_downloads(downloads: dict[str, Any]) -> list[str]:
    lines = ["downloads"]
    for name, size in downloads["models_mb"].items():
        lines.append(f"  {name:<70}{'size unknown' if size is None else f'{size:,} MB':>14}")
    if downloads["models_mb"]:
        lines.append(f"  {'models together':<70}{downloads['models_total_mb']:>11,} MB")
    else:
        lines.append("  no model: everything is on this machine")
    without = downloads["datasets_without_size"]
    if without:
        lines.append(f"  {len(without)} datasets of unpublished size (`polite-flamingo sources` knows what is here)")
    return lines


def _row(name: str, *cells: str) -> str:
    return f"{name:<10}" + "".join(f"{cell:>11}" for cell in cells)


def _counts(one: dict[str, Any]) -> tuple[str, ...]:
    return f"{one['samples']:,}", f"{one['sequences']:,}", f"{one['steps']:,}", _short(one["tokens"])


def _hours(hours: float | None) -> str:
    return "-" if hours is None else f"{hours:.1f}"


def _short(number: float | None) -> str:
    if number is None:
        return "-"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}" if number / size < 100 else f"{number / size:.0f}{letter}"
    return f"{number:.0f}"
