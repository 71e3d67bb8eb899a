"""The measurements of `bench.bench_gpu` as Markdown."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    "step", "learns", "sequences", "seconds", "tokens/s", "peak GB", "`plan` GB", "FLOPs used", "samples/s",
    "Table 4, per GPU",
)  # fmt: skip


def table(card: str, models: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    lines = [f"Measured on: **{card}**."]
    for name, model in models.items():
        lines += ["", f"**{name}**", ""]
        if "skipped" in model:
            lines.append(f"Left out: {model['skipped']}.")
            continue
        lines += [
            f"| {' | '.join(COLUMNS)} |",
            "|---" * len(COLUMNS) + "|",
        ]
        for step, row in model["steps"].items():
            if "skipped" in row:
                lines.append(f"| {step} | {row['skipped']} |" + " - |" * (len(COLUMNS) - 2))
                continue
            lines.append(
                f"| {step} | {row['learned'] / 1e9:.3f} B | {row['sequences']} | {row['seconds']:.1f} "
                f"| {row['tokens_per_second']:,.0f} | {_gb(row['peak_bytes'])} | {_gb(row['estimated_bytes'])} "
                f"| {_share(row['flops_utilisation'])} | {row['samples_per_second']:.2f} "
                f"| {_rate(row['paper_samples_per_second'])} |"
            )
        made = model["generation"]
        lines += [
            "",
            f"{made['records']} records of {made['prompt_tokens']:.0f} tokens, {made['new_tokens']} new ones together: "
            f"{made['seconds']:.1f} s, {made['records_per_second']:.2f} records/s; a decoding step "
            f"{made['seconds_per_step'] * 1e3:.1f} ms for {made['bytes_per_step'] / 1e9:.2f} GB read, "
            f"{_share(made['bandwidth_share'])} of the bandwidth; peak {_gb(made['peak_bytes'])} GB.",
        ]
    return "\n".join(lines)


def _gb(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e9:.1f}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
