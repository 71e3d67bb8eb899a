"""Tables and records in usual forms: which files of a folder belong together, and what their columns are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Reject
from polite_flamingo.sources import catalogue
from polite_flamingo.sources.forms.files import first_byte, open_file
from polite_flamingo.sources.forms.interchange import NOT_RECORDS
from polite_flamingo.sources.forms.rows import RowLayout, read_rows, saved_files, separator_of
from polite_flamingo.start.columns import SPLITS, Columns, guess

ALL = "all"
LOOKED_AT = 1000  # rows from which a table's columns are guessed
OBJECT_BYTES = 64 * 1024 * 1024  # of a JSON object that is looked into for the key of its rows
SEPARATED = (".csv", ".tsv")
TABLES = (*SEPARATED, ".jsonl", ".ndjson", ".json", ".parquet")
FORMS = (  # reader -> keys of a record in its form
    ("messages_json", {"messages"}),
    ("sharegpt_json", {"conversations", "images"}),
    ("llava_json", {"conversations"}),
    ("sharegpt_json", {"texts", "images"}),
)
MARKED = (  # what stands in a record's texts -> reader
    ("<img_path>", "pf1m_json"),
    ("<__dj__image>", "datajuicer_jsonl"),
    ("<|__dj__eoc|>", "datajuicer_jsonl"),
)
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(sorted(SPLITS - {ALL}, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """A dataset that some reader reads.

    Args:
        reader: Its name in the catalogue.
        folder: Where it lies.
        splits: Those that are there.
        what: What it is, for people.
        columns: Of a table: what its columns are; None: its mapping.yaml says it, or it is none.
        files: Of a table: key and value of its mapping that name the files.
        notes: What a person should know besides.
    """

    reader: str
    folder: Path
    splits: tuple[str, ...]
    what: str
    columns: Columns | None = None
    files: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def mapping(self) -> dict[str, Any] | None:
        """What the profile says of a table."""
        return None if self.columns is None else {**(self.files or {}), **self.columns.mapping}


def saved_in(folder: Path, named: Mapping[str, str] | None) -> Found:
    """A folder that `save_to_disk` of the Hugging Face library has written."""
    single = not (folder / "dataset_dict.json").is_file()
    splits = (ALL,) if single else tuple(read_json(folder / "dataset_dict.json")["splits"])
    files = saved_files(folder, splits[0])
    rows = _rows(chain.from_iterable(read_rows("table", folder, file) for file in files))
    if not rows:
        raise DataError("saved dataset has no rows", where=folder, next_step="save it again")
    if _form(rows[0]) is not None:
        hint = "save it by `to_parquet` into a folder, and name that"
        raise DataError("dialogues are not read as `save_to_disk` writes them", where=folder, next_step=hint)
    columns = guess(rows, folder, named)
    more = "more than " if len(rows) == LOOKED_AT else ""
    if not single:
        columns.mapping.pop("split", None)  # the folders say it; a column may tell of another division
    what = f"a dataset saved by the Hugging Face library: {more}{len(rows)} rows, columns {', '.join(rows[0])}"
    return Found("table", folder, splits, what, columns, {"saved": "."})


@dataclass(frozen=True, slots=True)
class _TableFile:
    """A file, its first rows, and what its name does not say of them."""

    path: str
    rows: list[dict[str, Any]]
    layout: RowLayout


def files_in(folder: Path, files: Sequence[Path], named: Mapping[str, str] | None) -> list[Found]:
    """Records in a usual form, or tables; files with the same columns are one table, what is none of these is noted."""
    tables: dict[tuple[str, ...], list[_TableFile]] = {}
    left: dict[str, DataError] = {}
    for file in files:
        if file.name in NOT_RECORDS:
            continue
        try:
            part = _part(folder, file)
        except DataError as error:
            left[file.name] = error  # a list of something else, as package.json; or a broken file
            continue
        form = _form(part.rows[0])
        if form is not None:
            others = ", ".join(other.name for other in files if kind_of(other) in SEPARATED)
            beside = (f"not read, for other records lie beside them: {others}",) if others else ()
            return [Found(form, folder, (ALL,), catalogue()[form].title, notes=beside)]
        columns = sorted({str(key) for row in part.rows for key in row})
        layout = part.layout
        tables.setdefault((layout.separator or "", str(layout.quotes), layout.key or "", *columns), []).append(part)
    found: list[Found] = []
    for parts in tables.values():
        try:
            found.append(_table(folder, parts, named))
        except DataError as error:
            left[", ".join(part.path for part in parts)] = error
    if left and not found:
        raise [*left.values()][-1]
    notes = tuple(f"not read: {name} ({error.what})" for name, error in left.items())
    return [replace(found[0], notes=notes), *found[1:]] if notes else found


def _part(folder: Path, file: Path) -> _TableFile:
    """A file's first rows.

    Raises:
        DataError: it cannot be read, or has none.
    """
    lists = _lists_of_objects(file)
    if {"images", "annotations"} <= set(lists):
        hint = "captions: annotations/captions_train2017.json and the images in train2017; boxes alone are no task"
        raise DataError("COCO's form is read by its official names", value=file.name, where=folder, next_step=hint)
    turns = {key for _, keys in FORMS for key in keys}
    keys = [key for key in lists if key not in turns]
    layout = RowLayout(key=keys[0] if len(keys) == 1 else None, separator=separator_of(file))
    layout, looked = _first_rows(folder, file, layout)
    rows = _rows(iter(looked))
    if not rows:
        raise _without_rows(file, [row for _, row in looked if isinstance(row, Reject)])
    return _TableFile(file.relative_to(folder).as_posix(), rows, layout)


def _form(row: Mapping[str, Any]) -> str | None:
    """The reader of records in a usual form; None of a table's row."""
    texts = " ".join(value for value in row.values() if isinstance(value, str))
    marked = next((name for mark, name in MARKED if mark in texts), None)
    return marked or next((name for name, keys in FORMS if keys <= set(row)), None)


def _first_rows(folder: Path, file: Path, layout: RowLayout) -> tuple[RowLayout, list[tuple[Any, Any]]]:
    """The first rows, and how they are read: in a TSV that makes no sense otherwise a quotation mark is just that."""
    try:
        return layout, list(islice(read_rows("table", folder, file, layout), LOOKED_AT))
    except DataError as error:
        plain = replace(layout, quotes=False)
        if kind_of(file) == ".tsv":
            with suppress(DataError):
                rows = list(islice(read_rows("table", folder, file, plain), LOOKED_AT))
                if not any(isinstance(row, Reject) for _, row in rows):
                    return plain, rows
        raise error


def _table(folder: Path, parts: Sequence[_TableFile], named: Mapping[str, str] | None) -> Found:
    rows = [row for part in parts for row in part.rows]
    columns = guess(rows, folder, named)
    paths = [part.path for part in parts]
    splits, patterns = columns.splits or (ALL,), paths
    hits = [_SPLIT.search(Path(path).name) for path in paths]
    if not columns.splits and all(hits):
        words = [hit[0] for hit in hits if hit is not None]
        splits = tuple(dict.fromkeys(words))
        patterns = [
            re.sub(r"\d{5}-of-\d{5}", "*", path.replace(word, "{split}", 1))
            for path, word in zip(paths, words, strict=True)
        ]
    patterns = sorted(set(patterns))
    files: dict[str, Any] = {"file": patterns[0] if len(patterns) == 1 else patterns}
    layout = parts[0].layout
    files |= {name: value for name, value in (("rows", layout.key), ("separator", layout.separator)) if value}
    files |= {} if layout.quotes else {"quotes": False}
    more = "more than " if any(len(part.rows) == LOOKED_AT for part in parts) else ""
    if columns.splits and more:  # others may follow
        splits = (ALL,)
        columns.notes.append(f"rows of every split in {columns.mapping['split']!r} are taken; `split` may name one")
    names = f"{', '.join(paths[:3])}{' …' if len(paths) > 3 else ''}"
    what = f"{names}: {more}{len(rows)} rows, columns {', '.join(map(str, rows[0]))}"
    return Found("table", folder, splits, what, columns, files)


def _rows(numbered: Iterator[tuple[Any, Any]]) -> list[dict[str, Any]]:
    return [row for _, row in islice(numbered, LOOKED_AT) if isinstance(row, dict) and not isinstance(row, Reject)]


def _without_rows(file: Path, rejects: Sequence[Reject]) -> DataError:
    lines = kind_of(file) in (".jsonl", ".ndjson")
    if not rejects:
        if lines:
            return DataError("file holds no objects", where=file, next_step="a JSON list is called .json")
        return DataError("file has no rows", where=file, next_step="write a header and a row for each record")
    reasons = "".join(f"\n    {line}" for line in Reasons(rejects).lines())
    hint = "save it as UTF-8 (in a spreadsheet `CSV UTF-8`), with as many fields in each row as in the first"
    hint = "write one whole JSON object on each line, in UTF-8" if lines else hint
    return DataError(f"none of the first {len(rejects)} rows can be read:{reasons}", where=file, next_step=hint)


def kind_of(file: Path) -> str:
    """The ending of a file's name, without that of gzip."""
    return Path(file.name.removesuffix(".gz")).suffix.lower()


def _lists_of_objects(file: Path) -> list[str]:
    """Keys of a JSON object under which lists of objects are; of a large one, as far as their first items tell."""
    import ijson

    try:
        if kind_of(file) != ".json" or first_byte(file) != b"{":
            return []
        if file.stat().st_size <= OBJECT_BYTES:
            with open_file(file) as raw:
                value = json.load(raw)
            lists = ((str(key), rows) for key, rows in value.items() if isinstance(rows, list) and rows)
            return [key for key, rows in lists if all(isinstance(row, dict) for row in rows)]
        with open_file(file) as raw:
            starts = (
                prefix for prefix, event, _ in ijson.parse(raw) if event == "start_map" and prefix.endswith(".item")
            )
            keys = dict.fromkeys(prefix.removesuffix(".item") for prefix in starts)
        return [key for key in keys if "." not in key]
    except (ijson.JSONError, ValueError, EOFError, OSError, RecursionError):
        return []  # JSON Lines, or what its reader will complain of
