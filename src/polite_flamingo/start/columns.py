"""Which column of a table is what, by their names and by what stands in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from polite_flamingo.errors import DataError, did_you_mean
from polite_flamingo.images import IMAGE_FORMATS
from polite_flamingo.sources.forms.answers import choose
from polite_flamingo.sources.forms.mapping import choices_of, is_missing, listed, look_up
from polite_flamingo.sources.forms.paths import is_file
from polite_flamingo.sources.forms.pictures import ADDRESS, in_base64

NAMES = {  # part -> usual names of its column, the best first
    "answer": "answer answers response output outputs completion gpt_answer correct_answer correct_choice "
    "correct_choice_idx answer_idx answer_index answerkey answer_key caption captions label target a ground_truth "
    "annotation description text sentences raw",
    "question": "question query prompt instruction q request input",
    "image": "image images image_path img file file_name filename path photo picture image_file image_1 image_2 "
    "image_name image_id img_id imageid",
    "id": "id question_id qid uid number sample_id row_id key",
    "split": "split subset partition",
}
CHOICES = "choices options answer_choices multiple_choices candidates"
QUESTION_IDS = ("question_id", "questionid", "qid")
PARTS = tuple(NAMES)
IMAGES = frozenset(IMAGE_FORMATS)
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "all"})
ENOUGH = 0.95  # share of the rows with choices whose answer must name one
LABEL_WORDS = 3  # an answer without a question up to this long names a class
DESCRIBING = frozenset({"caption", "captions", "description", "text"})  # columns that do not, however short they are
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
    known = _columns(rows)
    named = dict(named or {})
    for part, column in named.items():
        if column not in known:
            hint = did_you_mean(column, known)
            raise DataError("table has no such column", value=column, where=f"{part} of {folder}", next_step=hint)
    pictures = [named["image"]] if "image" in named else _pictures(rows, known, folder)
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
    _check(parts, pictures, known, folder)
    found = Columns()
    found.notes += [
        f"{column!r} holds addresses, and none is fetched: if they are the images, save the files and name them"
        for column in addresses
    ]
    _texts(found, parts, rows, len(pictures))
    choices = _choices(found, rows, [c for c in known if c not in {*parts.values(), *pictures}], parts)
    _images(found, pictures, rows, folder)
    _identity(found, parts, rows)
    asked = found.mapping.get("question")
    inputs = re.findall(r"\{([^{}]+)\}", asked["text"]) if isinstance(asked, dict) else []
    taken = {
        part
        for column in (*parts.values(), *pictures, *choices, *inputs)
        for part in (column, column.partition(".")[0])
    }
    unused = [column for column in known if column.partition(".")[0] not in taken]
    if unused:
        found.notes.append(f"columns that nothing uses: {', '.join(unused)} (--column PART=NAME)")
    return found


def _check(parts: Mapping[str, str], pictures: Sequence[str], known: Sequence[str], folder: Path) -> None:
    """Refuse a table of which nothing can be asked."""
    if "answer" not in parts:
        unnamed = any(_is_image(column) or column.rstrip().endswith("?") for column in known)
        hint = "write the columns' names above the first line, which looks like a record; or " if unnamed else ""
        raise NoAnswersError(
            "no column can be told to hold the answers",
            value=list(known),
            where=folder,
            next_step=f"{hint}--column answer=NAME",
        )
    if "question" not in parts and any(_plain(column) in QUESTION_IDS for column in known):
        hint = "write each question into its answer's row, or name both files as their dataset does"
        raise DataError("the questions are in another file", value=list(known), where=folder, next_step=hint)
    if "question" not in parts and not pictures:
        raise DataError(
            "no column can be told to hold questions or images, and answers alone are no task",
            value=list(known),
            where=folder,
            next_step="--column question=NAME or --column image=NAME",
        )


def _texts(found: Columns, parts: Mapping[str, str], rows: Sequence[Row], images: int) -> None:
    answer = parts["answer"]
    values = [value for row in rows if not is_missing(value := look_up(row, answer))]
    several = any(isinstance(value, list) for value in values) or bool(values and all(map(listed, values)))
    question = parts.get("question")
    label = not question and images == 1 and not several and _plain(answer) not in DESCRIBING
    label = label and all(len(str(value).split()) <= LABEL_WORDS for value in values)
    if label and all(re.fullmatch(r"-?\d+", str(value)) for value in values):
        found.notes.append(f"{answer!r} holds bare numbers: where they stand for classes, give a column of their names")
    task = ("vqa" if images else "text") if question or label else "change" if images > 1 else "caption"
    found.mapping["task"] = task
    found.why["task"] = {
        "vqa": "a question about an image", "text": "a question without an image",
        "caption": "an image and no question: a request is drawn", "change": "two images and no question",
    }[task]  # fmt: skip
    if question:
        found.mapping["question"] = _with_input(question, rows)
    elif label:
        found.mapping["question"] = {"text": ASK_LABEL}
        found.why["question"] = "no column asks, and the answers are names of classes"
    found.mapping["answers" if several else "answer"] = answer


def _with_input(question: str, rows: Sequence[Row]) -> Any:
    """The column of the questions; an instruction has what it is about in another, where all rows have that."""
    other = {"instruction": ("input", "inputs")}.get(_plain(question), ())
    beside = next((name for name in other if all(not is_missing(row.get(name)) for row in rows)), None)
    return {"text": f"{{{question}}}\n{{{beside}}}"} if beside else question


def _images(found: Columns, pictures: Sequence[str], rows: Sequence[Row], folder: Path) -> None:
    if not pictures:
        return
    names = [value for column in pictures for value in _each(rows, column)]
    lists = any(isinstance(look_up(row, column), list) for column in pictures for row in rows)
    inside, ending = ("", "") if lists else _where(names, folder)  # a text is made of one name
    values: list[Any] = [
        {"text": f"{inside}{{{column}}}{ending}"} if inside or ending else column for column in pictures
    ]
    sparse = [any(is_missing(look_up(row, column)) for row in rows) for column in pictures]
    for place in range(1, len(values)):  # a second image that only some rows have
        if sparse[place] and isinstance(values[place], str):
            values[place] = {"column": values[place], "optional": True}
    numbered = None if lists or inside or ending or len(pictures) > 1 else _numbered(names, folder)
    if numbered is not None:
        values = [{"text": numbered.format(f"{{{pictures[0]}:012}}")}]
        found.why["image"] = "images of COCO, by their numbers"
    found.notes += [] if inside else _doubled(names, folder)
    found.mapping.update({"image": values[0]} if len(values) == 1 else {"images": values})
    if inside or ending:
        where = f"the files lie in {inside}" if inside else f"the files are called so with {ending}"
        found.why["image" if len(values) == 1 else "images"] = where


def _identity(found: Columns, parts: Mapping[str, str], rows: Sequence[Row]) -> None:
    if "id" in parts:
        values = [str(value) for row in rows if not is_missing(value := look_up(row, parts["id"]))]
        if len(set(values)) == len(rows):
            found.mapping["id"] = parts["id"]
        else:
            found.notes.append(f"{parts['id']!r} repeats or is empty in some rows: the rows are numbered instead")
    if "split" in parts:
        values = [str(look_up(row, parts["split"])) for row in rows]
        if {value.lower() for value in values} <= SPLITS:
            found.mapping["split"] = parts["split"]
            found.splits = tuple(dict.fromkeys(values))


def _choices(found: Columns, rows: Sequence[Row], columns: Sequence[str], parts: Mapping[str, str]) -> list[str]:
    """The column of the choices, or a column for each (``A``, ``B`` …), where the answers name them; else none."""
    letters = _lettered(columns)
    one = _by_name("choices", columns) or next((c for c in columns if c.endswith(".text") and _named_so(c)), None)
    choices = [one] if one else letters if len(letters) > 1 else []
    named = [_named_choice(row, choices, parts["answer"]) for row in rows if choices and _has_choices(row, choices)]
    if not named or "question" not in parts:
        return []
    if sum(named) < ENOUGH * len(named):
        lacking = f"{parts['answer']!r} names none by text, letter or number from 0 in {named.count(False)} rows"
        found.notes.append(f"the choices in {', '.join(choices)} are not used: {lacking}")
        return []
    found.mapping["choices"] = choices[0] if one else choices
    found.why["choices"] = "written into the question; the answer names one of them"
    return choices


def _lettered(columns: Sequence[str]) -> list[str]:
    """Columns of choices that have a letter each: ``A``, ``option_a``, ``choices.A`` …, from the first on."""
    found: dict[str, str] = {}
    for column in columns:
        letter = re.fullmatch(r"(?:(?:option|choice|opt)_?)?([a-z])", _plain(column.rpartition(".")[2]))
        if letter:
            found.setdefault(letter[1], column)
    return [found[letter] for letter in takewhile(found.__contains__, ascii_lowercase)]


def _named_so(column: str) -> bool:
    return _plain(column.partition(".")[0]) in CHOICES.split()


def _has_choices(row: Row, columns: Sequence[str]) -> bool:
    try:
        return len(choices_of(row, columns)) > 1
    except DataError:
        return False


def _named_choice(row: Row, columns: Sequence[str], answer: str) -> bool:
    return choose(choices_of(row, columns), look_up(row, answer)) is not None


def _columns(rows: Sequence[Row]) -> list[str]:
    """Names of all columns; of objects that are no image, those within (``a.b``)."""
    known: dict[str, None] = {}
    for row in rows:
        for column, value in row.items():
            inner = [f"{column}.{key}" for key in value] if isinstance(value, dict) and not _is_image(value) else []
            known.update(dict.fromkeys(inner or [str(column)]))
    return list(known)


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")


def _by_name(part: str, columns: Sequence[str]) -> str | None:
    """The column with the best of the usual names; else one within an object (``a.b``)."""
    names = (CHOICES if part == "choices" else NAMES[part]).split()
    plain = {_plain(column): column for column in reversed(columns) if "." not in column}
    within = {_plain(column.rpartition(".")[2]): column for column in reversed(columns) if "." in column}
    return next((known[name] for known in (plain, within) for name in names if name in known), None)


def _asks(rows: Sequence[Row], column: str) -> bool:
    """Whether most of a column's texts are questions; a mark alone is none."""
    texts = [str(value).strip() for value in _each(rows, column)]
    return bool(texts) and sum(text.endswith("?") and len(text) > 1 for text in texts) > len(texts) / 2


def _pictures(rows: Sequence[Row], known: Sequence[str], folder: Path) -> list[str]:
    """Columns that hold images: the bytes themselves, else names of files, else addresses.

    Of several with names, those of which a file is there, if there are any: others name where an image came from.
    """
    kinds: dict[str, list[str]] = {"bytes": [], "names": [], "addresses": []}
    for column in known:
        values = list(_each(rows, column))
        if values and all(map(_is_image, values)):
            named = [v for v in map(_named, values) if v is not None]
            address = bool(named) and all(map(ADDRESS.match, named))
            kinds["addresses" if address else "names" if named else "bytes"].append(column)
    names = kinds["names"]
    if len(names) > 1:
        names = [column for column in names if _are_there(list(_each(rows, column)), folder)] or names
    return kinds["bytes"] or names or kinds["addresses"]


def _named(value: Any) -> str | None:
    """What an image is called, where its bytes are not at hand."""
    if isinstance(value, dict):
        return None if isinstance(value.get("bytes"), bytes) else value.get("path")
    return value if isinstance(value, str) and in_base64(value) is None else None


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
        value = look_up(row, column)
        yield from (item for item in (value if isinstance(value, list) else [value]) if not is_missing(item))


def _are_there(names: Sequence[Any], folder: Path) -> bool:
    """Whether a file of one of the first names is there, as it is called or below a folder."""
    paths = _paths(names)
    return any(is_file(base / path) for path in paths for base in (folder, folder.parent)) or any(_where(names, folder))


def _paths(names: Sequence[Any]) -> list[str]:
    paths = [str(n) for n in names if isinstance(n, str | int) and not isinstance(n, bool)]
    return [path for path in paths if not ADDRESS.match(path) and in_base64(path) is None][:20]


def _where(names: Sequence[Any], folder: Path) -> tuple[str, str]:
    """What rows leave out of the names of their files: a folder, an ending; both empty: files are found as named."""
    paths = _paths(names)
    if not paths or any(is_file(base / path) for path in paths for base in (folder, folder.parent)):
        return "", ""
    places = ["", *(f"{name}/" for name in _folders(folder))]
    endings = ["", *sorted(IMAGES)] if not any(Path(path).suffix.lower() in IMAGES for path in paths) else [""]
    for ending in endings:
        fits = [place for place in places if any(is_file(folder / f"{place}{path}{ending}") for path in paths)]
        if fits:
            return fits[0] if len(fits) == 1 else "", ending  # of several folders, each name is looked for in all
    return "", ""


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _doubled(names: Sequence[Any], folder: Path) -> list[str]:
    """A note where an image is not in the folder and in more than one of those below."""
    folders = _folders(folder)
    for path in _paths(names):
        places = [] if is_file(folder / path) else [name for name in folders if is_file(folder / name / path)]
        if len(places) > 1:
            told = f"{path} in {', '.join(places)}"
            return [f"images of one name lie in several folders ({told}): write the folder, too"]
    return []


def _numbered(names: Sequence[Any], folder: Path) -> str | None:
    """How COCO's images of one subset are called, with braces for the number, where nearly all numbers are there."""
    numbers = _paths(names)
    if not numbers or not all(re.fullmatch(r"\d{1,12}", number) for number in numbers):
        return None
    for base in (folder, folder.parent / "coco"):
        for place in sorted(base.glob("*20[0-9][0-9]*/")):
            subset = re.match(r"[a-z]+\d{4}", place.name)
            stem = f"COCO_{subset[0]}_" if subset and subset[0].endswith("2014") else ""
            there = [is_file(place / f"{stem}{number:0>12}.jpg") for number in numbers]
            if subset and sum(there) >= ENOUGH * len(there):
                inside = place.relative_to(folder if base == folder else folder.parent).as_posix()
                return f"{inside}/{stem}{{}}.jpg"
    return None
