"""Which column of a table is what, by their names and by what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError, did_you_mean
from polite_flamingo.images import IMAGE_FORMATS
from polite_flamingo.sources.forms.mapping import is_missing
from polite_flamingo.sources.forms.paths import is_file
from polite_flamingo.sources.forms.pictures import ADDRESS, in_base64

NAMES = {  # part -> usual names of its column, the best first
    "answer": "answer answers response output caption captions label target a ground_truth annotation description text",
    "question": "question query prompt instruction q request input",
    "image": "image images image_path img file file_name filename path photo picture image_file image_1 image_2",
    "id": "id question_id qid uid number sample_id row_id key",
    "split": "split subset partition",
}
PARTS = tuple(NAMES)
IMAGES = frozenset(IMAGE_FORMATS)
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "all"})
LABEL_WORDS = 3  # an answer without a question up to this long names a class
ASK_LABEL = "What is this?"  # Table 6's classification (docs/paper_index.md)
Row = Mapping[str, Any]


class NoAnswersError(DataError):
    """No column of a table can be told to hold the answers; `value` are its columns."""


@dataclass
class Columns:
    """A mapping of columns, and what to say of it.

    Args:
        mapping: As ``mapping.yaml`` has it, without files and licence.
        why: Key -> why it is so.
        notes: What a person should know before a run.
        splits: Values of the split column.
    """

    mapping: dict[str, Any] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    splits: tuple[str, ...] = ()


def guess(rows: Sequence[Row], folder: Path, named: Mapping[str, str] | None = None) -> Columns:
    """Guess what the columns of a table are.

    Args:
        rows: The first rows.
        folder: Where the table lies; image paths are told from here.
        named: Part (one of `PARTS`) -> column, where a person has said it.

    Raises:
        NoAnswersError: no column can be told to be the answers.
        DataError: a named column is not there; the message lists those that are.
    """
    known = list(dict.fromkeys(str(column) for row in rows for column in row))
    named = dict(named or {})
    for part, column in named.items():
        if column not in known:
            hint = did_you_mean(column, known)
            raise DataError("table has no such column", value=column, where=f"{part} of {folder}", next_step=hint)
    pictures = [named["image"]] if "image" in named else [c for c in known if _holds_images(rows, c)]
    used = {*named.values(), *pictures}
    parts = dict(named)
    for part in ("answer", "question", "id", "split"):
        if part not in parts and (guessed := _by_name(part, [c for c in known if c not in used])):
            parts[part] = guessed
            used.add(guessed)
    asks = (c for c in known if c not in used and _asks(rows, c))
    if "question" not in parts and "answer" in parts and (guessed := next(asks, None)):
        parts["question"] = guessed
        used.add(guessed)
    if not pictures and (guessed := _by_name("image", [c for c in known if c not in used])):
        pictures = [guessed]
    addresses = [] if pictures else [c for c in known if c not in used and _holds_addresses(rows, c)]
    if "answer" not in parts:
        raise NoAnswersError(
            "no column can be told to hold the answers", value=known, where=folder, next_step="--column answer=NAME"
        )
    if "question" not in parts and not pictures:
        raise DataError(
            "no column can be told to hold questions or images, and answers alone are no task",
            value=known,
            where=folder,
            next_step="--column question=NAME or --column image=NAME",
        )
    found = Columns()
    found.notes += [
        f"{column!r} holds addresses, and none is fetched: if they are the images, save the files and name them"
        for column in addresses
    ]
    _texts(found, parts, rows, len(pictures))
    _images(found, pictures, rows, folder)
    _identity(found, parts, rows)
    unused = [column for column in known if column not in {*parts.values(), *pictures}]
    if unused:
        found.notes.append(f"columns that nothing uses: {', '.join(unused)} (--column PART=NAME)")
    return found


def _texts(found: Columns, parts: Mapping[str, str], rows: Sequence[Row], images: int) -> None:
    answer = parts["answer"]
    values = [row.get(answer) for row in rows if not is_missing(row.get(answer))]
    several = any(isinstance(value, list) for value in values)
    question = parts.get("question")
    label = not question and images == 1 and not several
    label = label and all(len(str(value).split()) <= LABEL_WORDS for value in values)
    task = ("vqa" if images else "text") if question or label else "change" if images > 1 else "caption"
    found.mapping["task"] = task
    found.why["task"] = {
        "vqa": "a question about an image", "text": "a question without an image",
        "caption": "an image and no question: a request is drawn", "change": "two images and no question",
    }[task]  # fmt: skip
    if question:
        found.mapping["question"] = question
    elif label:
        found.mapping["question"] = {"text": ASK_LABEL}
        found.why["question"] = "no column asks, and the answers are names of classes"
    found.mapping["answers" if several else "answer"] = answer


def _images(found: Columns, pictures: Sequence[str], rows: Sequence[Row], folder: Path) -> None:
    if not pictures:
        return
    names = [value for column in pictures for value in _each(rows, column)]
    inside, ending = _where(names, folder)
    values: list[Any] = [
        {"text": f"{inside}{{{column}}}{ending}"} if inside or ending else column for column in pictures
    ]
    found.mapping.update({"image": values[0]} if len(values) == 1 else {"images": values})
    if inside or ending:
        where = f"the files lie in {inside}" if inside else f"the files are called so with {ending}"
        found.why["image" if len(values) == 1 else "images"] = where


def _identity(found: Columns, parts: Mapping[str, str], rows: Sequence[Row]) -> None:
    if "id" in parts:
        values = [str(row.get(parts["id"])) for row in rows if not is_missing(row.get(parts["id"]))]
        if len(set(values)) == len(rows):
            found.mapping["id"] = parts["id"]
        else:
            found.notes.append(f"{parts['id']!r} repeats or is empty in some rows: the rows are numbered instead")
    if "split" in parts:
        values = [str(row.get(parts["split"])) for row in rows]
        if {value.lower() for value in values} <= SPLITS:
            found.mapping["split"] = parts["split"]
            found.splits = tuple(dict.fromkeys(values))


def _by_name(part: str, columns: Sequence[str]) -> str | None:
    plain = {re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_"): column for column in reversed(columns)}
    return next((plain[name] for name in NAMES[part].split() if name in plain), None)


def _asks(rows: Sequence[Row], column: str) -> bool:
    """Whether most of a column's texts are questions."""
    texts = [str(value).strip() for value in _each(rows, column)]
    return bool(texts) and sum(text.endswith("?") for text in texts) > len(texts) / 2


def _holds_images(rows: Sequence[Row], column: str) -> bool:
    values = list(_each(rows, column))
    return bool(values) and all(map(_is_image, values))


def _holds_addresses(rows: Sequence[Row], column: str) -> bool:
    values = list(_each(rows, column))
    return bool(values) and all(isinstance(value, str) and ADDRESS.match(value) for value in values)


def _is_image(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes) or _is_image(value.get("path"))
    if isinstance(value, bytes):
        return True
    if not isinstance(value, str) or "\n" in value.strip():
        return False
    return Path(value.partition("?")[0]).suffix.lower() in IMAGES or in_base64(value) is not None


def _each(rows: Sequence[Row], column: str) -> Iterator[Any]:
    for row in rows:
        value = row.get(column)
        yield from (item for item in (value if isinstance(value, list) else [value]) if not is_missing(item))


def _where(names: Sequence[Any], folder: Path) -> tuple[str, str]:
    """What rows leave out of the names of their files: a folder, an ending; both empty: files are found as named."""
    paths = [n for n in names if isinstance(n, str) and not ADDRESS.match(n) and in_base64(n) is None][:20]
    if not paths or any(is_file(base / path) for path in paths for base in (folder, folder.parent)):
        return "", ""
    places = ["", *(f"{path.name}/" for path in sorted(folder.iterdir()) if path.is_dir())]
    endings = ["", *sorted(IMAGES)] if not any(Path(path).suffix.lower() in IMAGES for path in paths) else [""]
    tried = ((place, ending) for ending in endings for place in places)
    fits = (pair for pair in tried if any(is_file(folder / f"{pair[0]}{path}{pair[1]}") for path in paths))
    return next(fits, ("", ""))
