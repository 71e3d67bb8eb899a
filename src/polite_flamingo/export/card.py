"""The dataset card of an export: what is in it, under which licences, how it was made, what was filtered and lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from polite_flamingo.export.formats import Format
from polite_flamingo.export.kept import KeptRecord

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
TASKS = {
    "vqa": "visual-question-answering",
    "reasoning": "visual-question-answering",
    "caption": "image-to-text",
    "change": "image-to-text",
    "detail": "image-to-text",
    "dialogue": "image-text-to-text",
    "text": "text-generation",
}


class Origin(NamedTuple):
    """What records are counted by."""

    source: str
    split: str
    task: str
    licence: str
    permissive: bool


@dataclass
class Contents:
    """Counts of what was written, and of what was not and why."""

    written: Counter[Origin] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    restricted: Counter[str] = field(default_factory=Counter)  # licence -> records left out by --permissive-only
    images: int = 0

    def add(self, kept: KeptRecord) -> None:
        """Count a written record."""
        rewrite = kept.rewrite
        self.images += len(rewrite.images)
        self.written[Origin(rewrite.source, rewrite.split, str(rewrite.task), rewrite.licence, kept.permissive)] += 1


def render_card(
    name: str,
    form: Format,
    contents: Contents,
    filters: Mapping[str, Any],
    provenance: Mapping[str, Any],
    permissive_only: bool,
) -> str:
    """The card, Markdown with the head the Hugging Face hub reads.

    Args:
        name: Name of the format.
        form: The format.
        contents: What was counted.
        filters: Report of the stage ``filter``.
        provenance: What the records were made with, by name.
        permissive_only: Whether other licences were left out.
    """
    total = contents.written.total()
    parts = [
        _head(name, contents),
        f"# Polite rewrites of vision-language annotations, as {form.title}",
        "Terse annotations rewritten into polite, grounded responses by the method of *Visual Instruction Tuning with "
        "Polite Flamingo* (arXiv 2307.01003), then filtered (section 4.2).",
        f"{total} records, {contents.images} images shown in them.",
        *_contents(contents, permissive_only),
        "## How it was made",
        _table(("what", "with"), [(key, _value(value)) for key, value in provenance.items()]),
        *_filters(filters),
        *_format(form, contents),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _contents(contents: Contents, permissive_only: bool) -> list[str]:
    header = ("source", "split", "task", "records", "licence of the annotations", "commercial use")
    rows = [
        (o.source, o.split, o.task, count, o.licence, "yes" if o.permissive else "no or unknown")
        for o, count in sorted(contents.written.items())
    ]
    note = "Licences are those of the annotations; images have their own. Responses are made by a model."
    parts = ["## Contents", _table(header, rows), note]
    if permissive_only:
        parts += ["Left out, because their licence does not allow commercial use or is not known to:"]
        parts += [_table(("licence", "records"), sorted(contents.restricted.items())) or "nothing."]
    return parts


def _filters(report: Mapping[str, Any]) -> list[str]:
    rows = [(f["filter"], f["applied"], f["would_drop_alone"], f["dropped"]) for f in report["filters"]]
    thresholds = [(key, _value(value)) for key, value in sorted(report["thresholds"].items())]
    parts = [
        "## Filters",
        f"{report['kept']} of {report['records']} rewrites were kept; paragraphs were cut from {report['edited']} "
        "of these. A record is dropped by the first filter it fails:",
        _table(("filter", "applies to", "fail it", "dropped by it"), rows),
        _table(("threshold", "value"), thresholds),
    ]
    if report.get("off"):
        parts += [f"Off, because no scorer was there for them: {', '.join(report['off'])}."]
    overridden = report.get("overridden") or {}
    if overridden:
        replaced = [(key, _value(paper), _value(own)) for key, (paper, own) in sorted(overridden.items())]
        parts += ["Not the paper's:", _table(("parameter", "the paper's value", "here"), replaced)]
    return parts


def _format(form: Format, contents: Contents) -> list[str]:
    parts = ["## Format", form.usage, f"Read back with the reader `{form.reader}`."]
    parts += ["What it cannot hold:" if form.loses else "It holds everything a kept record has."]
    parts += ["\n".join(f"- {loss}." for loss in form.loses)]
    if contents.left_out:
        rows = sorted(contents.left_out.items())
        parts += ["Records left out for that, or because an image could not be read (`left_out.jsonl` names them):"]
        parts += [_table(("reason", "records"), rows)]
    return parts


def _head(name: str, contents: Contents) -> str:
    total = contents.written.total()
    size = next((label for limit, label in SIZES if total < limit), "1M<n<10M")
    lines = ["---", "license: other", "language: [en]", f"size_categories: [{size}]"]
    tasks = sorted({TASKS[origin.task] for origin in contents.written})
    lines += [f"task_categories: [{', '.join(tasks)}]"] if tasks else []
    if name == "messages":
        lines += ["configs:", "- config_name: default", "  data_files: data/*.parquet"]
    return "\n".join([*lines, "---"])


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
