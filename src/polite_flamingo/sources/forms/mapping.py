"""``mapping.yaml``: how a table of one's own becomes samples, in words instead of code.

=============  =========================================================================================
``file``       glob, or list of globs, below the dataset's folder; ``{split}`` stands for the split
``saved``      instead: a folder below it that the Hugging Face library's ``save_to_disk`` has written
``hub``        instead: ``owner/name@revision`` of a dataset on the Hugging Face hub; `file` is within it
``rows``       JSON that is an object: the key its list of rows is under
``header``     CSV and TSV without a header line: the names of the columns
``quotes``     CSV and TSV: false where quotation marks are just that
``separator``  CSV and TSV: what stands between fields, where it is another character than the file's name says
``task``       caption, change, vqa, dialogue, detail, reasoning or text
``licence``    of the annotations
``permissive`` true where that licence allows commercial use, false where not
``question``   without it, a request is drawn for captions and changes
``answer``     the answer
``answers``    a list of them: all captions of an image, or all answers (the most frequent one is the answer); also one
               written as text, or of objects with ``answer``, ``text``, ``caption`` or ``raw``
``choices``    of a multiple-choice question: a list, or a list of columns (``[A, B, C, D]``); `answer` is then the text
               of one, its letter or its number (from 0), and both are written out
``image``      path below the dataset's folder or from the data root, or the bytes, or ``{bytes, path}``; or a list
``images``     list of columns, for several images
``id``         without it, the file's name and the row's number
``split``      rows of another split are passed over; without it, all rows are of the split that is asked for
=============  =========================================================================================

A value is a column (``a.b`` is b inside a), except those of `task` and `licence`, which are meant literally. Longer:
``{column: name}``, ``{text: "True or false: {statement}"}`` (columns in braces, ``{id:012}`` filled up with zeros), and
``optional: true`` beside either
where a row may go without.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from polite_flamingo.errors import YAML_HINT, DataError, did_you_mean
from polite_flamingo.records import Task
from polite_flamingo.sources.forms.rows import RowLayout

FILE = "mapping.yaml"
GIVEN = "`mapping` of the source"  # in a profile or a call, instead of the file
KINDS = ("file", "saved", "hub")
FIELDS = ("task", "licence", "question", "answer", "answers", "image", "id", "split")
KEYS = (*KINDS, "rows", "header", "quotes", "separator", "permissive", "images", "choices", *FIELDS)
SAID = ("answer", "text", "caption", "raw")  # what an object of a list of answers holds the answer under
LITERAL = ("task", "licence")
DRAWN = (Task.CAPTION, Task.DETAIL, Task.CHANGE)  # tasks a request can be drawn for
MAX_TEXT = 200_000  # characters of a question or an answer; what is longer is no text that a model is asked about
_BRACES = re.compile(r"\{([^{}]+?)(?::0(\d{1,2}))?\}")
_HUB = re.compile(r"([\w.-]+/[\w.-]+)@([\w./-]+)")


@dataclass(frozen=True, slots=True)
class Field:
    """Where a value comes from.

    Args:
        column: The column that holds it.
        text: Instead: text with columns in braces.
        optional: A row may go without it.
    """

    column: str | None = None
    text: str | None = None
    optional: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs."""
        return (
            (self.column,)
            if self.column is not None
            else tuple(match[1] for match in _BRACES.finditer(self.text or ""))
        )

    def value(self, row: Mapping[str, Any]) -> Any:
        """The value as the table has it; None where there is none and that is allowed.

        Raises:
            DataError: the row goes without it.
        """
        if self.column is None:
            return self.read(row)
        value = look_up(row, self.column)
        if is_missing(value) and not self.optional:
            raise _lacking(row, self.column)
        return None if is_missing(value) else value

    def read(self, row: Mapping[str, Any]) -> str | None:
        """The value as text, like `value`."""
        if self.column is not None:
            value = self.value(row)
            return None if value is None else as_text(value, self.column)
        parts = {column: look_up(row, column) for column in self.columns}
        absent = [column for column, part in parts.items() if is_missing(part)]
        if absent and self.optional:
            return None
        if absent:
            raise _lacking(row, absent[0])
        return _BRACES.sub(lambda match: as_text(parts[match[1]], match[1]).zfill(int(match[2] or 0)), self.text or "")


@dataclass(frozen=True, slots=True)
class Plan:
    """A mapping that has been checked."""

    kind: str
    where: tuple[str, ...]
    hub: tuple[str, str] | None
    layout: RowLayout
    fields: Mapping[str, Field]
    images: tuple[Field, ...]
    choices: tuple[str, ...]
    permissive: bool | None

    @property
    def columns(self) -> frozenset[str]:
        """All columns it names."""
        fields = (column for field in (*self.fields.values(), *self.images) for column in field.columns)
        return frozenset((*fields, *self.choices))


def look_up(row: Mapping[str, Any], column: str) -> Any:
    """``row[column]``; ``a.b`` is also found inside ``row["a"]``. None where there is none."""
    if column in row:
        return row[column]
    outer, dot, inner = column.partition(".")
    within = row.get(outer) if dot else None
    return look_up(within, inner) if isinstance(within, dict) else None


def listed(value: Any) -> list[Any] | None:
    """A list, also one written as text (as spreadsheets and pandas do, in JSON or Python); None of anything else."""
    if isinstance(value, list):
        return value
    if not (isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]")):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def choices_of(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The choices of a row: a list in one column, or one each in several; none where the row has none."""
    values = [look_up(row, column) for column in columns]
    if len(columns) == 1:
        values = listed(values[0]) or []
    return [as_text(value, columns[0]) for value in values if not is_missing(value)]


def said(value: Any) -> Any:
    """An answer of a list of them: itself, or what an object holds it under."""
    return next((value[key] for key in SAID if key in value), value) if isinstance(value, dict) else value


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: null, NaN, blank text, an empty list."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value == [] or (isinstance(value, float) and math.isnan(value))


def _lacking(row: Mapping[str, Any], column: str) -> DataError:
    if column in row:
        return DataError(f"{column!r} is empty")
    return DataError(f"row has no {column!r}", value=sorted(map(str, row)))


def as_text(value: Any, column: str) -> str:
    """A cell as text.

    Raises:
        DataError: it holds something else.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole numbers of a column in which some are missing
    if not isinstance(value, str | int | float | Decimal | date):
        hint = " (a list is mapped with `answers`)" if isinstance(value, list) else ""
        raise DataError(f"{column!r} is no text{hint}", value=value)
    text = str(value).strip()
    if len(text) > MAX_TEXT:
        raise DataError(f"{column!r} holds {len(text):,} characters, more than {MAX_TEXT:,}", value=text[:40])
    return text


def mapping_problems(raw: Mapping[Any, Any]) -> list[str]:
    """What is wrong with a mapping, each on a line."""
    problems: list[str] = []
    _plan(raw, problems)
    return problems


def load_plan(path: Path, raw: Any = None) -> Plan:
    """Read and check a ``mapping.yaml``.

    Args:
        path: The file.
        raw: What it would hold, where a profile says it.

    Raises:
        DataError: there is none, or it cannot be used; all problems at once.
    """
    where = path if raw is None else GIVEN
    raw = _read(path) if raw is None else raw
    if not isinstance(raw, Mapping):
        raise DataError("mapping is not a list of `key: value` lines", value=type(raw).__name__, where=where)
    problems: list[str] = []
    plan = _plan(raw, problems)
    if problems or plan is None:
        lines = "".join(f"\n    {problem}" for problem in problems)
        raise DataError(f"{len(problems)} problem(s) in the mapping:{lines}", where=where, next_step="mend all of them")
    return plan


def _read(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "write one: file, question, answer, image, task, licence (docs/tables_and_exports.md)"
        raise DataError("folder has no mapping", value=FILE, where=path.parent, next_step=hint) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise DataError("mapping is not valid YAML", value=text, where=path, next_step=YAML_HINT) from None


def _plan(raw: Mapping[Any, Any], problems: list[str]) -> Plan | None:
    problems += [f"{key}: unknown key ({did_you_mean(str(key), KEYS)})" for key in raw if key not in KEYS]
    fields = {name: _field(name, raw[name], problems) for name in FIELDS if raw.get(name) is not None}
    images = _images(raw.get("images"), problems) + ((fields.pop("image"),) if "image" in fields else ())
    _check_fields(fields, problems)
    kind, where, hub = _kind(raw, problems)
    choices = raw.get("choices", ())
    choices = [choices] if isinstance(choices, str) else choices
    if not _is_texts(choices):
        problems.append(f"choices: neither a column nor a list of columns ({choices!r})")
    key, header = raw.get("rows"), raw.get("header")
    if key is not None and not isinstance(key, str):
        problems.append(f"rows: not a key ({key!r})")
    if header is not None and not _is_texts(header):
        problems.append(f"header: not a list of names ({header!r})")
    separator = raw.get("separator")
    if separator is not None and not (isinstance(separator, str) and len(separator) == 1):
        problems.append(f"separator: not one character ({separator!r})")
    for name in ("quotes", "permissive"):
        if not isinstance(raw.get(name, True), bool):
            problems.append(f"{name}: neither true nor false ({raw[name]!r})")
    if problems:
        return None
    layout = RowLayout(key, tuple(header) if header else None, raw.get("quotes", True), separator)
    return Plan(kind, where, hub, layout, fields, images, tuple(choices), raw.get("permissive"))


def _kind(raw: Mapping[Any, Any], problems: list[str]) -> tuple[str, tuple[str, ...], tuple[str, str] | None]:
    hub = raw.get("hub")
    match = _HUB.fullmatch(hub) if isinstance(hub, str) else None
    if hub is not None and match is None:
        problems.append(f"hub: not owner/name@revision ({hub!r}); a branch moves, so name a commit")
    named = [name for name in KINDS if raw.get(name) is not None]
    if not named or ("saved" in named and len(named) > 1):
        problems.append("one of file, saved and hub must be there (file may stand beside hub)")
    kind = next((name for name in ("hub", "saved", "file") if name in named), "file")
    where: Any = raw.get("saved") if kind == "saved" else raw.get("file", "**/*.parquet")
    where = [where] if isinstance(where, str) else where
    if not _is_texts(where) or any(Path(name).is_absolute() or ".." in Path(name).parts for name in where):
        problems.append(f"{kind}: not a path below the folder ({where!r})")
        where = []
    return kind, tuple(where), (match[1], match[2]) if match else None


def _field(name: str, raw: Any, problems: list[str]) -> Field:
    if isinstance(raw, str) and raw.strip():
        return Field(text=raw) if name in LITERAL else Field(column=raw)
    if isinstance(raw, dict) and set(raw) <= {"column", "text", "optional"}:
        column, text, optional = raw.get("column"), raw.get("text"), raw.get("optional", False)
        one = (column is None) != (text is None)
        if one and isinstance(column or text, str) and isinstance(optional, bool):
            return Field(column, text, optional)
    form = "text" if name in LITERAL else "a column"
    problems.append(f"{name}: neither {form} nor {{column: …}} or {{text: …}}, with or without optional ({raw!r})")
    return Field(text="")


def _images(raw: Any, problems: list[str]) -> tuple[Field, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or not raw:
        problems.append(f"images: not a list of columns ({raw!r}); one column is mapped with `image`")
        return ()
    return tuple(_field("images", item, problems) for item in raw)


def _check_fields(fields: Mapping[str, Field], problems: list[str]) -> None:
    problems += [f"{name}: missing" for name in ("task", "licence") if name not in fields]
    if "answer" not in fields and "answers" not in fields:
        problems.append("answer or answers: missing")
    if "answers" in fields and fields["answers"].column is None:
        problems.append("answers: must be a column that holds lists")
    task = fields.get("task")
    if task is None or task.column is not None:
        return
    if task.text not in set(Task):
        problems.append(f"task: unknown ({did_you_mean(str(task.text), map(str, Task))})")
    elif "question" not in fields and task.text not in DRAWN:
        problems.append(f"question: missing (none can be drawn for the task {task.text})")


def _is_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str) for v in value)
