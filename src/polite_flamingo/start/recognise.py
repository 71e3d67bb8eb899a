"""What lies in a folder of data: which reader fits, which splits there are, which columns are what."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.images import links_into
from polite_flamingo.io.text import read_json
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import catalogue, load_source
from polite_flamingo.sources.forms.files import contents as listed
from polite_flamingo.sources.forms.files import open_file
from polite_flamingo.sources.forms.interchange import NOT_RECORDS
from polite_flamingo.sources.forms.mapping import FILE
from polite_flamingo.sources.forms.rows import RowLayout, read_rows, saved_files, separator_of
from polite_flamingo.sources.reading import present_splits
from polite_flamingo.sources.selection import SourceSpec, without_rejects
from polite_flamingo.start.columns import SPLITS, Columns, guess

ALL = "all"
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
SHEETS = (".xlsx", ".xls", ".ods")
BESIDE = 200  # other folders in which images may lie
HUB = "hub:"  # how a dataset of the Hugging Face hub is written elsewhere
LOOKED_AT = 1000  # rows from which a table's columns are guessed
OBJECT_BYTES = 64 * 1024 * 1024  # of a JSON object that is looked into for the key of its rows
SHOWN = 80  # characters of a text
TO_DO = "to do: "  # how a note begins without which nothing goes on
TRIED = 5  # rows that a reader is tried on
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
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
DEPTH = 3  # levels of folders below the named one that are looked into
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
    """

    reader: str
    folder: Path
    splits: tuple[str, ...]
    what: str
    columns: Columns | None = None
    files: Mapping[str, Any] | None = None

    @property
    def mapping(self) -> dict[str, Any] | None:
        """What the profile says of a table."""
        return None if self.columns is None else {**(self.files or {}), **self.columns.mapping}


def recognise(path: Path, named: Mapping[str, str] | None = None) -> list[Found]:
    """Say what lies in a folder, or in the folders below it; or what one file is.

    Args:
        path: The folder or file.
        named: Part of a table -> column, as for `guess`.

    Raises:
        DataError: there is no such path, or no reader fits; the message says what is there.
    """
    if str(path).startswith(HUB):
        raise _of_the_hub(str(path).removeprefix(HUB))
    path = Path(os.path.normpath(path.absolute()))  # links stay: siblings lie beside the link
    if path.is_file():
        found = [] if path.name.lower().endswith(ARCHIVES + SHEETS) else _files(path.parent, [path], named)
    elif path.is_dir():
        found, level = _folder(path, named), [path]
        for _ in range(DEPTH):
            level = [] if found or len(level) > BESIDE else [child for folder in level for child in _folders(folder)]
            found = found or [item for folder in level for item in _folder(folder, named)]
    else:
        base = next(parent for parent in path.parents if parent.is_dir())
        hint = f"in {base} there are {listed(base)}; a dataset of the hub is fetched first (hf download)"
        raise DataError("there is no such folder or file", value=str(path), next_step=hint)
    if not found:
        raise DataError(
            "no reader fits what lies here",
            value=contents(path),
            where=path,
            next_step=f"{_unpack(path)}a table (.csv, .tsv, .json, .jsonl, .parquet) with a column of answers, LLaVA, "
            "ShareGPT or messages JSON, or a dataset of `polite-flamingo sources` in its official form is read",
        )
    return found


def first_look(found: Found, most_rejected: float = 1.0) -> list[str]:
    """What a person should know of a dataset before a run, from its first rows, and the first record.

    Args:
        found: The dataset.
        most_rejected: Share of unusable rows above which a run stops.

    Raises:
        DataError: none of the rows can be used.
    """
    notes = [] if found.columns is None else list(found.columns.notes)
    mapping = None if found.mapping is None else {**found.mapping, "licence": "-"}
    split = found.splits[0]
    spec = SourceSpec(name=found.reader, folder=found.folder.name, role="annotation", split=split, mapping=mapping)
    with _aside(found.folder) as root:
        items = list(islice(spec.reader().read(root, spec.folder, split, seed=0), LOOKED_AT))
        rejects = [item for item in items if isinstance(item, Reject)]
        samples = [item for item in items if isinstance(item, Sample)]
        images = dict.fromkeys(image.path for sample in samples for image in sample.images)
        missing = {path: None for path in images if not (root / path).is_file()}
    reasons = "".join(f"\n    {line}" for line in Reasons(rejects).lines())
    if rejects and not samples:
        hint = "mend them; or tell by --column PART=NAME what the columns are"
        raise DataError(
            f"none of the first {len(items)} rows can be used:{reasons}", where=found.folder, next_step=hint
        )
    if rejects:
        notes.append(f"{len(rejects)} of the first {len(items)} rows cannot be used and go to quarantine:{reasons}")
    if missing:
        first = "" if len(missing) < len(images) else TO_DO
        example = f"{next(iter(missing))}{_packed(found.folder)}"
        notes.append(f"{first}{len(missing)} of {len(images)} image files are not there: {example}")
    unusable = len(rejects) + sum(any(image.path in missing for image in sample.images) for sample in samples)
    if most_rejected * len(items) < unusable < len(items):
        share = unusable / len(items)
        notes.append(f"a run stops at so many unusable rows: mend or drop them, {without_rejects(share)}")
    if found.reader == "pf1m_json":
        notes.append("these answers are rewritten already; to tune on them, `role: pf1m` (docs/training_data.md)")
    talks = sum(len(sample.turns) > 2 for sample in samples)
    if talks:
        notes.append(f"{talks} of the first {len(items)} are dialogues: each question becomes a record of its own")
    if samples:
        asked, answer = (" ".join(text.split())[:SHOWN] for text in (samples[0].turns[0].text, samples[0].response))
        pictures = f" ({', '.join(image.path for image in samples[0].images)})" if samples[0].images else ""
        notes.append(f"the first record: {asked} -> {answer}{pictures}")
    return notes


def _unpack(path: Path) -> str:
    """What to do first where archives lie in a folder, or a file is one."""
    archives = [path] if path.is_file() else sorted(path.glob("*"))
    named = [archive.name for archive in archives if archive.name.lower().endswith(ARCHIVES)]
    sheets = [sheet.name for sheet in archives if sheet.name.lower().endswith(SHEETS)]
    first = f"unpack {', '.join(named[:3])} and name the folder; " if named else ""
    return first + (f"save {', '.join(sheets[:3])} as `CSV UTF-8`; " if sheets else "")


def _packed(folder: Path) -> str:
    archives = sorted(path.name for path in folder.glob("*") if path.name.endswith(ARCHIVES))
    return f"; unpack {archives[0]}" if archives else ""


def _of_the_hub(name: str) -> DataError:
    """Why a dataset of the Hugging Face hub is not taken as it is, and what to do instead."""
    folder = name.rpartition("/")[2] or "FOLDER"
    return DataError(
        "a dataset of the Hugging Face hub is not looked into from afar",
        value=HUB + name,
        next_step=f"fetch it first: hf download --repo-type dataset {name} --local-dir {folder}; then init {folder} "
        "(where its form is not read: datasets.load_dataset(…).save_to_disk(FOLDER), then init FOLDER)",
    )


def contents(path: Path) -> str:
    """How many files of which kind lie in a folder, or below it."""
    files = [path] if path.is_file() else [file for file in islice(path.rglob("*"), 100_000) if file.is_file()]
    counts = Counter(file.suffix.lower() or "without an ending" for file in files)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common(8)) or "no file"


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _folder(folder: Path, named: Mapping[str, str] | None) -> list[Found]:
    if (folder / FILE).is_file():
        return [Found("table", folder, (ALL,), f"a table with its own {FILE}")]
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return [_saved(folder, named)]
    official = _official(folder)
    if official:
        return official
    files = [file for base in (folder, folder / "data") if base.is_dir() for file in sorted(base.iterdir())]
    if any(file.suffix == ".tar" for file in files) and _reads("webdataset", folder, ALL):
        return [Found("webdataset", folder, (ALL,), "WebDataset tar files")]
    return _files(folder, [file for file in files if file.is_file() and _kind(file) in TABLES], named)


def _official(folder: Path) -> list[Found]:
    """Datasets of the catalogue in their official form: by their files, and by reading the first rows."""
    fits = []
    for name, entry in catalogue().items():
        if entry.group == "own":
            continue
        splits = tuple(split for split in present_splits(name, folder) if _reads(name, folder, split))
        splits = tuple(split for split in splits if split not in entry.repeats) or splits
        if splits:
            fits.append(Found(name, folder, splits, f"{entry.title}, in its official form"))
    named = [found for found in fits if folder.name in (found.reader, catalogue()[found.reader].folder)]
    return (named or fits)[:1]


def _reads(name: str, folder: Path, split: str) -> bool:
    with _aside(folder) as root:
        try:
            items = load_source(name).read(root, folder.name, split, seed=0)
            return any(isinstance(item, Sample) for item in islice(items, TRIED))
        except DataError:
            return False


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A data root of links to a folder and those beside it, so that a look writes nothing beside the data."""
    with tempfile.TemporaryDirectory(prefix="polite-flamingo-") as scratch:
        beside = (path for path in folder.parent.iterdir() if path.is_dir() and path.name != folder.name)
        for path in (folder, *islice(beside, BESIDE)):
            (Path(scratch) / path.name).symlink_to(path)
        try:
            with links_into(folder.parent):
                yield Path(scratch)
        except DataError as error:  # of a file that a person knows by another path
            where = str(error.where or "").replace(scratch, str(folder.parent))
            raise DataError(error.what, value=error.value, where=where, next_step=error.next_step) from None


def _saved(folder: Path, named: Mapping[str, str] | None) -> Found:
    """A folder that `save_to_disk` of the Hugging Face library has written."""
    single = not (folder / "dataset_dict.json").is_file()
    splits = (ALL,) if single else tuple(read_json(folder / "dataset_dict.json")["splits"])
    files = saved_files(folder, splits[0])
    rows = _rows(chain.from_iterable(read_rows("table", folder, file) for file in files))
    if not rows:
        raise DataError("saved dataset has no rows", where=folder, next_step="save it again")
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


def _files(folder: Path, files: Sequence[Path], named: Mapping[str, str] | None) -> list[Found]:
    """Records in a usual form, or tables; files with the same columns are one table."""
    tables: dict[tuple[str, ...], list[_TableFile]] = {}
    for file in files:
        if file.name in NOT_RECORDS:
            continue
        layout = RowLayout(key=_key_of_rows(file), separator=separator_of(file))
        try:
            layout, looked = _first_rows(folder, file, layout)
        except DataError:
            if len(files) == 1:
                raise
            continue  # a list of something else, as package.json
        rows = _rows(iter(looked))
        if not rows:
            if len(files) == 1:
                raise _without_rows(file, [row for _, row in looked if isinstance(row, Reject)])
            continue
        form = _form(rows[0])
        if form is not None:
            return [Found(form, folder, (ALL,), catalogue()[form].title)]
        if layout.key == "annotations" and {"image_id", "caption"} <= set(rows[0]):
            hint = "call it annotations/captions_train2017.json, and the folder of its images train2017"
            raise DataError("COCO's captions under another name", value=file.name, where=folder, next_step=hint)
        columns = sorted({str(key) for row in rows for key in row})
        part = _TableFile(file.relative_to(folder).as_posix(), rows, layout)
        tables.setdefault((layout.separator or "", str(layout.quotes), layout.key or "", *columns), []).append(part)
    found: list[Found] = []
    problem: DataError | None = None
    for parts in tables.values():
        try:
            found.append(_table(folder, parts, named))
        except DataError as error:
            problem = error
    if not found and problem is not None:
        raise problem
    return found


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
        if _kind(file) == ".tsv":
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
    lines = _kind(file) in (".jsonl", ".ndjson")
    if not rejects:
        if lines:
            return DataError("file holds no objects", where=file, next_step="a JSON list is called .json")
        return DataError("file has no rows", where=file, next_step="write a header and a row for each record")
    reasons = "".join(f"\n    {line}" for line in Reasons(rejects).lines())
    hint = "save it as UTF-8 (in a spreadsheet `CSV UTF-8`), with as many fields in each row as in the first"
    hint = "write one whole JSON object on each line, in UTF-8" if lines else hint
    return DataError(f"none of the first {len(rejects)} rows can be read:{reasons}", where=file, next_step=hint)


def _kind(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix.lower()


def _key_of_rows(file: Path) -> str | None:
    """The only key of a JSON object that holds a list of objects, and not the turns of one record."""
    if _kind(file) != ".json" or file.stat().st_size > OBJECT_BYTES:
        return None
    with open_file(file) as raw:
        try:
            value = json.load(raw)
        except (ValueError, EOFError, OSError, RecursionError):
            return None  # JSON Lines, or what its reader will complain of
    known = {key for _, keys in FORMS for key in keys}
    lists = [
        str(key)
        for key, rows in (value.items() if isinstance(value, dict) else ())
        if key not in known and isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    ]
    return lists[0] if len(lists) == 1 else None
