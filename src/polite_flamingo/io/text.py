"""Text files: JSON, JSON Lines and CSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import replacing, write_atomic

Row = dict[str, Any]
WRITTEN_BY = "`polite-flamingo run` writes what is not there yet; else check the path"
_FORMULA = re.compile(r"'*(?:\s*[=+\-@]|[\t\n])")  # how a cell begins that a spreadsheet computes


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented, key-sorted JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one is a `DataError` naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("file does not exist", where=path, next_step=WRITTEN_BY) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            "file is not valid JSON", value=str(error), where=path, next_step="fix or re-create it"
        ) from None


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON Lines, atomically; return their number."""
    count = 0
    with replacing(path) as tmp, open(tmp, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
        file.flush()
    return count


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file; a broken line is a `DataError` naming its number."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(
                    "line is not valid JSON",
                    value=str(error),
                    where=f"{path}:{number}",
                    next_step="mend or delete this line",
                ) from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a small table with a line of column names, atomically; None is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it (`from_cell` takes it away).
    """
    with replacing(path) as tmp, open(tmp, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # a bare one would end the line unquoted
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """A text as it was before `write_csv` wrote it."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
