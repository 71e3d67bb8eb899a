"""The catalogue as a table: for the terminal, and as ``docs/sources.md``.

Write the page anew with ``python -m polite_flamingo.sources.table_of_sources docs/sources.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.io.files import write_atomic
from polite_flamingo.sources.registry import GROUPS, catalogue, load_source

PERMISSIVE = {True: "yes", False: "no", "unknown": "not stated"}
WIDEST = 36  # characters of a cell in the terminal
INTRODUCTION = """\
# Sources

Every dataset with a reader. This page is written from the catalogue (`src/polite_flamingo/sources/catalogue/`) by
`python -m polite_flamingo.sources.table_of_sources docs/sources.md`; a test fails when it is out of date.

- *rows* are what the reader yields of the official files (samples and rejects), per split; "?" where that is not known.
  Splits without answers are left out. A reader that finds another number warns.
- *PF-1M* is the number of rows in the published PF-1M (Table 6 of arXiv 2307.01003).
- *licence* is that of the annotations, as the dataset states it; the images have their own. *commercial* says whether
  it allows commercial use; `export --permissive-only` takes only those where it says yes.
- *get it*: `fetch` means that `polite-flamingo fetch NAME --accept-licence` gets the files; "by hand" that a login, a
  form or a page stands in between, and `fetch` prints what to do.
- *also needs* names other datasets in the same data root whose images or boxes it uses.

`polite-flamingo sources` shows the same table with what is on your machine. A dataset that is not here:
[how to add a source](how_to_add_a_source.md).
"""


def facts(name: str) -> dict[str, Any]:
    """What the catalogue and the reader say of a dataset, as JSON values."""
    entry = catalogue()[name]
    reader = load_source(name)
    return {
        "name": name,
        "title": entry.title,
        "group": entry.group,
        "tasks": sorted(str(task) for task in reader.tasks),
        "licence": reader.licence,
        "permissive": entry.permissive,
        "splits": dict(entry.splits),
        "pf1m": entry.pf1m,
        "get_it": " and ".join(["fetch"] * bool(entry.files) + ["by hand"] * bool(entry.manual)),
        "also_needs": list(reader.siblings),
        "folder": entry.folder,
        "home": entry.home,
    }


def page() -> str:
    """The text of ``docs/sources.md``."""
    parts = [INTRODUCTION]
    rows = [facts(name) for name in catalogue()]
    for group, heading in GROUPS.items():
        members = [row for row in rows if row["group"] == group]
        if members:
            parts.append(f"\n## {heading}\n\n{_markdown(map(_cells, members))}")
    return "".join(parts)


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `facts`, each with a ``state``, as columns for the terminal; long cells are cut."""
    lines = [("name", "task", "commercial", "state", "rows", "licence")]
    for row in rows:
        cells = (
            row["name"],
            ", ".join(row["tasks"]),
            PERMISSIVE[row["permissive"]],
            row["state"],
            ", ".join(_counts(row)),
        )
        lines.append((*(_shorten(cell) for cell in cells), row["licence"]))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    return "\n".join("  ".join([*map(str.ljust, line, widths), line[-1]]) for line in lines)


def _shorten(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _counts(row: Mapping[str, Any]) -> list[str]:
    return [f"{name} {'?' if count is None else format(count, ',')}" for name, count in row["splits"].items()]


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": f"`{row['name']}`",
        "dataset": f"[{row['title']}]({row['home']})" if row["home"].startswith("http") else row["title"],
        "task": ", ".join(row["tasks"]),
        "rows": "<br>".join(_counts(row)),
        "PF-1M": "" if row["pf1m"] is None else f"{row['pf1m']:,}",
        "licence": row["licence"],
        "commercial": PERMISSIVE[row["permissive"]],
        "get it": row["get_it"],
        "also needs": ", ".join(f"`{name}`" for name in row["also_needs"]),
    }


def _markdown(rows: Iterable[dict[str, str]]) -> str:
    lines: list[str] = []
    for row in rows:
        if not lines:
            lines = [f"| {' | '.join(row)} |", f"|{'---|' * len(row)}"]
        lines.append("| " + " | ".join(value.replace("|", "\\|") for value in row.values()) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_atomic(Path(sys.argv[1]), page())
