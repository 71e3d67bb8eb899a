"""Rows of tables in the usual files: JSON, JSON Lines, CSV, TSV (all also gzipped), Parquet, Arrow; all streamed."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json
from polite_flamingo.records import Reject
from polite_flamingo.sources.base import VALUE_LENGTH
from polite_flamingo.sources.forms.files import (
    first_byte,
    open_file,
    read_items,
    read_lines,
    relative,
    stop_if_looking,
    unreadable,
)
from polite_flamingo.sources.forms.files import read_rows as read_records
from polite_flamingo.sources.forms.paths import is_file

FIELD_LIMIT = 64 * 1024 * 1024  # characters of one CSV field
LINE_LIMIT = 16 * 1024 * 1024  # bytes of a first line that may be a row
SHORT = 16  # characters of a line that tells what stands between fields
BATCH = 64  # rows of Parquet and Arrow turned into Python values at once; they may hold images
SPREADSHEET = re.compile(r"sep=(.)")  # a first line by which spreadsheets say what stands between fields
SEPARATORS = ";\t|^~\x01\x1f"
LABELS = "ClassLabel"  # the Hugging Face type that stores a class's number for its name
DAMAGED = (
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)  # what damage leads to, besides
NumberedRow = tuple[int | str, Any]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """What a file's name does not tell.

    Args:
        key: JSON: the key the list of rows is under, where the file is an object.
        header: CSV and TSV: the columns' names, where the first line is not a header.
        quotes: CSV and TSV: whether ``"`` quotes a field.
        separator: CSV and TSV: what stands between fields, where the file's name does not say it.
    """

    key: str | None = None
    header: tuple[str, ...] | None = None
    quotes: bool = True
    separator: str | None = None


def read_rows(
    source: str,
    base: Path,
    path: Path,
    layout: RowLayout = RowLayout(),
    columns: Collection[str] | None = None,
) -> Iterator[NumberedRow]:
    """Yield (number, row) of one file; the row is a dictionary in a sound file, or the `Reject` of an unreadable one.

    The number is the line's (JSON Lines, CSV, TSV) or counts from 0; of a JSON object of records it is their names.
    Only Parquet leaves out what is not in `columns`, whose names may have dots (``a.b`` is in ``a``).

    Raises:
        DataError: the file as a whole cannot be read, or its name ends in nothing known.
    """
    stop_if_looking()
    kind = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).removesuffix(".gz").lower()
    if kind in (".jsonl", ".ndjson"):
        return read_lines(source, base, path)
    if kind == ".json":
        lines = layout.key is None and _holds_lines(path)
        return read_lines(source, base, path) if lines else _json(path, layout.key)
    if kind in (".csv", ".tsv"):
        return _separated(source, base, path, layout.separator or ("\t" if kind == ".tsv" else ","), layout)
    if kind == ".parquet":
        return enumerate(_guarded(path, lambda: _parquet(path, columns)))
    if kind == ".arrow":
        return enumerate(_guarded(path, lambda: _arrow(path)))
    raise DataError(
        "unknown kind of table",
        value=path.name,
        where=path.parent,
        next_step="name .json, .jsonl, .csv, .tsv (also .gz), .parquet or .arrow files",
    )


def saved_files(folder: Path, split: str) -> list[Path]:
    """The Arrow files, in order, of a dataset that the Hugging Face library has saved in `folder`.

    Raises:
        DataError: not such a folder, or it has no such split.
    """
    if is_file(folder / "dataset_dict.json"):
        splits = _key(folder / "dataset_dict.json", "splits")
        if split not in splits:
            raise DataError("saved dataset has no such split", value=split, where=folder, next_step=f"one of {splits}")
        folder = folder / split
    if not is_file(folder / "state.json"):
        raise DataError(
            "no saved dataset",
            value=folder.name,
            where=folder,
            next_step="name the folder that `save_to_disk` has written",
        )
    if read_json(folder / "state.json").get("_indices_data_files"):
        raise DataError("saved dataset is a selection", where=folder, next_step="save it after flatten_indices()")
    names = [str(file.get("filename")) for file in _key(folder / "state.json", "_data_files")]
    if any(Path(name).name != name for name in names):
        raise DataError("saved dataset names files elsewhere", value=names, where=folder)
    return [folder / name for name in names]


def _key(path: Path, key: str) -> list[Any]:
    value = read_json(path)
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise DataError(f"file holds no list {key!r}", where=path, next_step="save the dataset again")
    return items


def separator_of(path: Path) -> str | None:
    """What stands between the fields of a table's first line, where its name does not say it (nor a line ``sep=``)."""
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind not in (".csv", ".tsv"):
        return None
    usual = "\t" if kind == ".tsv" else ","
    with open_file(path) as raw:
        text = raw.read(LINE_LIMIT >> 8).decode("utf-8-sig", "replace").lstrip("\r\n")
    line = re.split("[\r\n]", text, maxsplit=1)[0]
    if SPREADSHEET.fullmatch(line):
        return None
    counts = {mark: len(next(csv.reader([line], delimiter=mark), [])) for mark in {usual, *SEPARATORS}}
    best = max(counts, key=lambda mark: (counts[mark], mark == usual))
    return None if best == usual else best


def _json(path: Path, key: str | None) -> Iterator[NumberedRow]:
    """Rows of a list, or of an object whose values are records of one kind, by their names."""
    if key is None and first_byte(path) == b"{":
        records = read_records(path)
        first = list(islice(records, 2))
        kinds = [set(record) for _, record in first if isinstance(record, dict)]
        if len(kinds) == len(first) > 0 and set.intersection(*kinds):
            yield from chain(first, records)
            return
    yield from enumerate(read_items(path, key))


def _holds_lines(path: Path) -> bool:
    """Whether a .json file is JSON Lines: it begins with an object that ends on its own line, and is a record."""
    with open_file(path) as file:
        try:
            line = b"\n"
            while line and not line.strip():
                line = file.readline(LINE_LIMIT)
        except (EOFError, OSError, zlib.error) as error:
            raise unreadable(path, error) from None
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not all(isinstance(value, dict) for value in record.values())


def _separated(source: str, base: Path, path: Path, separator: str, layout: RowLayout) -> Iterator[NumberedRow]:
    csv.field_size_limit(FIELD_LIMIT)
    where = relative(base, path)
    with open_file(path) as raw:
        if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError("file is UTF-16", where=path, next_step="save it as UTF-8, in a spreadsheet `CSV UTF-8`")
        raw.seek(0)
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if layout.quotes else csv.QUOTE_NONE
        told = SPREADSHEET.fullmatch(file.readline(SHORT).rstrip("\r\n"))
        if told is None:
            file.seek(0)
        reader = csv.reader(file, delimiter=told[1] if told else separator, quoting=quoting, strict=True)
        before = 1 if told else 0
        try:
            filled = (row for row in reader if any(cell.strip() for cell in row))  # spreadsheets leave empty rows
            header = [
                (name.strip() and name) or f"column {n}" for n, name in enumerate(layout.header or next(filled, []), 1)
            ]
            if len(set(header)) < len(header):
                twice = "rename one of them in the first line"
                raise DataError("a column's name stands twice in the header", value=header, where=path, next_step=twice)
            for row in filled:
                line = before + reader.line_num
                yield line, _to_dict(source, where, line, header, row)
        except csv.Error as error:
            place = f"{path}:{before + reader.line_num}"
            hint = "mend it, or write `quotes: false` where a quotation mark is just that"
            raise DataError("file is not valid CSV", value=str(error), where=place, next_step=hint) from None
        except (EOFError, OSError, zlib.error) as error:
            raise unreadable(path, error) from None


def _to_dict(source: str, where: str, line: int, header: Sequence[str], row: Sequence[str]) -> dict[str, str] | Reject:
    excerpt = " | ".join(row).encode("utf-8", "replace").decode()[:VALUE_LENGTH]
    if len(row) != len(header):
        return Reject(source, where, str(line), f"row has {len(row)} fields, the header {len(header)}", excerpt)
    if any("\0" in cell for cell in row):
        return Reject(source, where, str(line), "row holds a NUL character", excerpt.replace("\0", ""))
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return Reject(source, where, str(line), "row is not valid UTF-8", excerpt)
    return dict(zip(header, row, strict=True))


def _parquet(path: Path, columns: Collection[str] | None) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        for batch in file.iter_batches(batch_size=BATCH, columns=_columns_to_read(schema.names, columns)):
            yield from _labelled(batch, schema)


def _columns_to_read(names: Sequence[str], columns: Collection[str] | None) -> list[str] | None:
    """The columns to read; all, where one that is wanted is not there, so that a message can say what is."""
    selected = {column if column in names else column.partition(".")[0] for column in columns or names}
    return sorted(selected) if selected <= set(names) else None


def _arrow(path: Path) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        for whole in stream:
            for start in range(0, whole.num_rows, BATCH):
                batch = whole.slice(start, BATCH)
                batch.validate(full=True)  # offsets of a damaged file may point anywhere
                yield from _labelled(batch, stream.schema)


def _labelled(batch: Any, schema: Any) -> Iterator[dict[str, Any]]:
    """Rows of a batch, with the names of classes for their numbers."""
    stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features: Mapping[str, Any] = stored.get("info", {}).get("features", {})
    named = {n: f["names"] for n, f in features.items() if isinstance(f, dict) and f.get("_type") == LABELS}
    for row in batch.to_pylist():
        for column, names in named.items():
            number = row.get(column)
            if isinstance(number, int):
                row[column] = names[number] if 0 <= number < len(names) else None
        yield row


def _guarded(path: Path, rows: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    try:
        yield from rows()
    except (*DAMAGED, OSError, ValueError, NotImplementedError) as error:
        raise unreadable(path, error) from None
