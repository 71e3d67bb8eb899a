"""Files of records as they are published: JSON Lines, JSON lists and objects, tables; broken lines are counted."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.shards import read_shards
from polite_flamingo.sources.forms.files import first_byte, open_file, read_rows, unreadable
from polite_flamingo.sources.forms.rows import separator_of

LISTS = (
    "logs",
    "data",
    "questions",
    "annotations",
    "results",
    "answers",
    "predictions",
    "outputs",
    "samples",
    "images",
)
NAMED = ("answers", "predictions", "results", "outputs", "data")  # keys under which records stand by their names
OF_A_RECORD = frozenset(  # keys that an object of texts by names does not have
    ["answer", "caption", "id", "image", "image_id", "prediction", "question", "question_id", "response", "text"]
)
SHOWN = 5  # broken lines that are told by number


@dataclass(slots=True)
class Broken:
    """Lines of a file that are no JSON."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(where)


def is_object_file(path: Path) -> bool:
    """Whether a file is one JSON value (an object or a list) over several lines, not a record a line."""
    with open_file(path) as file:
        try:
            first = file.readline(1 << 20).strip()
            more = file.readline(1 << 20).strip()
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(path, error) from None
    if not first.removeprefix(b"\xef\xbb\xbf").startswith((b"{", b"[")):
        return False
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return first.startswith(b"[") or not more.startswith((b"{", b"["))
    return not more and (isinstance(value, list) or _holds_records(value))


def read_pairs(path: Path, broken: Broken) -> Iterator[tuple[str, Any]]:
    """Stream (name, record) of a file: the key in an object of records, else ``#`` and the place.

    Args:
        path: JSON, JSON Lines (also gzipped), CSV, TSV, or a folder of shards.
        broken: Gets the lines that are no JSON.

    Raises:
        DataError: the file cannot be read, or holds no record.
    """
    if path.is_dir():
        yield from ((f"#{i}", row) for i, row in enumerate(read_shards(path)))
        return
    if not path.is_file():
        raise DataError("file does not exist", where=path, next_step="check the path")
    names = [suffix for suffix in path.suffixes if suffix != ".gz"]
    if names and names[-1].lower() in (".csv", ".tsv"):
        yield from _table(path, separator_of(path) or ("\t" if names[-1].lower() == ".tsv" else ","))
    elif is_object_file(path):
        yield from _object(path)
    else:
        yield from _lines(path, broken)


def _holds_records(value: Any) -> bool:
    """Whether an object on one line is a file of records rather than a record."""
    if not isinstance(value, dict):
        return False
    listed = any(isinstance(value.get(name), list) and _records(value[name]) for name in LISTS)
    listed = listed or any(isinstance(value.get(name), dict) for name in NAMED)
    kinds = {type(one) for one in value.values()}
    alike = len(kinds) == 1 and (len(value) > 1 or kinds <= {dict, list})
    return listed or (alike and not OF_A_RECORD & value.keys())


def _records(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(one, dict) for one in values[:3]) and "answer_id" not in values[0]


def _object(path: Path) -> Iterator[tuple[str, Any]]:
    if first_byte(path) == b"[":
        yield from ((f"#{place}", record) for place, record in read_rows(path))
        return
    rows = read_rows(path)
    first: list[tuple[str, Any]] = []
    for pair in rows:
        first.append(pair)
        if len(first) == 40:
            break
    held = dict(first)
    if isinstance(held.get("results"), dict):  # ScienceQA: places of the choices, and what was said
        said = held.get("outputs")
        if isinstance(said, dict):
            yield from said.items()
        else:
            yield from ((name, _letter(place)) for name, place in held["results"].items())
        return
    for name in LISTS:
        if isinstance(held.get(name), list) and _records(held[name]):
            yield from ((f"#{i}", record) for i, record in enumerate(held[name]))
            return
        if isinstance(held.get(name), dict) and name in NAMED:
            yield from held[name].items()
            return
    yield from first
    yield from rows


def _letter(place: Any) -> Any:
    """The letter of a choice that is given by its place; a place that is none was no answer (-1)."""
    if not isinstance(place, int) or isinstance(place, bool):
        return place
    return chr(ord("A") + place) if 0 <= place < 26 else ""


def _lines(path: Path, broken: Broken) -> Iterator[tuple[str, Any]]:
    found = False
    with open_file(path) as file:
        try:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    broken.add(str(number))
                    continue
                found = True
                yield f"#{number - 1}", record
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(path, error) from None
    if not found:
        raise DataError(
            "file holds no record",
            value=f"{broken.count} lines that are no JSON" if broken.count else "empty",
            where=path,
            next_step="give JSON Lines, a JSON list or object, CSV or TSV",
        )


def _table(path: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    csv.field_size_limit(1 << 24)
    with open_file(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        try:
            for number, row in enumerate(csv.DictReader(text, delimiter=delimiter, strict=True)):
                yield f"#{number}", {str(key): value for key, value in row.items() if key is not None}
        except (csv.Error, ValueError, OSError, EOFError, zlib.error) as error:
            raise unreadable(path, error) from None
