"""The report of an evaluation as plain tables for the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_ODD = re.compile(r"[^\w\-. /]")  # in a name of a metric
SHOWN = (
    "official", "choice_or_text", "direct_answer_accuracy", "precision", "recall", "f1", "yes", "nli", "contained",
    "rouge_l", "sts", "cider", "chair_s", "chair_i", "objects", "reward", "words", "sentences", "unchanged",
)  # fmt: skip
PLAIN = frozenset({"cider", "objects", "reward", "words"})  # the others are told in per cent
MOST = 20  # differences on the terminal


def render(report: Mapping[str, Any]) -> str:
    """Counts of the files, a table per set, means over sets, politeness and the clearest differences."""
    parts = [files_table(report["files"])]
    for name, own in report["sets"].items():
        head = f"{name}: {own['n']} questions on {own['images']} images, official metric {own['metric']}"
        notes = [f"  {note}" for note in own["notes"]]
        if own["mean_over_groups"]:
            notes.append(f"  figures are means over {', '.join(own['groups'])}")
        parts.append("\n".join([head, *notes, figures_table(own["models"])]))
        if own.get("contamination"):
            parts.append(_contamination(name, own["contamination"]))
        parts += [f"{name}, {group}\n{figures_table(its, brief=True)}" for group, its in own["groups"].items()]
    if len(report["sets"]) > 1:
        parts.append(f"mean over {len(report['sets'])} sets\n{figures_table(report['models'])}")
    if report["politeness"].get("matrix"):
        parts.append(_politeness(report["politeness"]))
    if report["differences"]:
        parts.append(_differences(report["differences"]))
    return "\n\n".join(parts)


def rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per set, model and figure, with its interval."""
    return [
        {"set": name, "model": model, "figure": figure, **one}
        for name, own in report["sets"].items()
        for model, its in own["models"].items()
        for figure, one in its.items()
    ]


def metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """``set.model.figure`` -> value, under names that MLflow takes."""
    named = {f"{row['set']}.{row['model']}.{row['figure']}": row["value"] for row in rows(report)}
    return {_ODD.sub("_", name): value for name, value in named.items() if value is not None}


def files_table(files: Sequence[Mapping[str, Any]]) -> str:
    """What became of the records of each file."""
    names = (
        "records", "matched", "missing", "unmatched", "other_question", "reworded", "doubled", "unanswered", "empty",
        "broken",
    )  # fmt: skip
    told = [name for name in names if name in ("records", "matched", "missing") or any(file[name] for file in files)]
    rows = [["model", *told], *([file["model"], *(str(file[name]) for name in told)] for file in files)]
    notes = [f"  {file['model']}: {note}" for file in files for note in file["notes"]]
    notes += [
        f"  {file['model']}: told by their order, the words of every question agree"
        for file in files
        if file["by_order"]
    ]
    return "\n".join([_aligned(rows), *notes])


def figures_table(models: Mapping[str, Mapping[str, Any]], *, brief: bool = False) -> str:
    """Figures of models side by side, with their intervals unless brief."""
    names = [name for name in SHOWN if any(name in its for its in models.values())]
    rows = [["", *models]]
    rows += [[name, *(cell(its.get(name), name, brief=brief) for its in models.values())] for name in names]
    rows.append(["answers", *(str(max((f["n"] for f in its.values()), default=0)) for its in models.values())])
    return _aligned(rows)


def cell(figure: Mapping[str, Any] | None, name: str, *, brief: bool = False) -> str:
    """One figure: per cent where it is a share, its interval behind it."""
    if figure is None or figure["value"] is None:
        return "-"
    scale, digits = (1.0, 2) if name in PLAIN else (100.0, 2)
    value, low, high = (f"{figure[key] * scale:.{digits}f}" for key in ("value", "low", "high"))
    return value if brief else f"{value} ({low} to {high})"


def _contamination(name: str, told: Mapping[str, Any]) -> str:
    ways = ", ".join(f"{way} {count}" for way, count in told["ways"].items())
    rows = [["", "seen", "not seen"]]
    rows += [
        [f"{model}, {figure}", cell(one["seen"], figure), cell(one["not seen"], figure)]
        for model, its in told["models"].items()
        for figure, one in its.items()
    ]
    return f"{name}: {told['seen']} of {told['n']} questions were seen in training ({ways})\n{_aligned(rows)}"


def _politeness(told: Mapping[str, Any]) -> str:
    order = told["order"]
    rows = [["row beats column", *order, "strength"]]
    for i, name in enumerate(order):
        one = told["strengths"][name]
        wins = ["" if i == j else f"{told['matrix'][i][j]:.1%}" for j in range(len(order))]
        rows.append([name, *wins, f"{one['value']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"])
    return f"politeness by reward, {told['n']} questions that all answered\n{_aligned(rows)}"


def _differences(rows: Sequence[Mapping[str, Any]]) -> str:
    sure = sorted((row for row in rows if row["p_holm"] < 0.05), key=lambda row: row["p"])
    head = f"{len(sure)} of {len(rows)} differences hold at 5 % after Holm's correction"
    lines = [["set", "figure", "", "difference", "p (Holm)"]]
    for row in sure[:MOST]:
        scale = 1.0 if row["figure"] in PLAIN else 100.0
        told = f"{row['value'] * scale:+.2f} ({row['low'] * scale:+.2f} to {row['high'] * scale:+.2f})"
        lines.append([row["set"], row["figure"], f"{row['first']} - {row['second']}", told, f"{row['p_holm']:.2g}"])
    more = [f"  and {len(sure) - MOST} more in the JSON"] if len(sure) > MOST else []
    return "\n".join([head, *([_aligned(lines)] if sure else []), *more])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
