"""What lies in a folder of data: which reader fits, which splits there are, which columns are what."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.images import links_into
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import catalogue, load_source
from polite_flamingo.sources.forms.files import contents as listed
from polite_flamingo.sources.forms.mapping import FILE
from polite_flamingo.sources.reading import present_splits
from polite_flamingo.sources.selection import SourceSpec, without_rejects
from polite_flamingo.start.tables import ALL, LOOKED_AT, TABLES, Found, files_in, kind_of, saved_in

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
SHEETS = (".xlsx", ".xls", ".ods")
BESIDE = 200  # other folders in which images may lie
HUB = "hub:"  # how a dataset of the Hugging Face hub is written elsewhere
SHOWN = 80  # characters of a text
TO_DO = "to do: "  # how a note begins without which nothing goes on
TRIED = 5  # rows that a reader is tried on
HIDDEN = (".", "__MACOSX")
DEPTH = 3  # levels of folders below the named one that are looked into


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
        found = [] if path.name.lower().endswith(ARCHIVES + SHEETS) else files_in(path.parent, [path], named)
    elif path.is_dir():
        found = _folder(path, named)
        if not found or _is_below(found[0]):
            found = _below(path, named)
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
    notes = [*found.notes, *(() if found.columns is None else found.columns.notes)]
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


def _below(path: Path, named: Mapping[str, str] | None) -> list[Found]:
    """Datasets of the first level of folders that holds any; what cannot be told there is noted.

    Raises:
        DataError: there is none, but something that looks like one.
    """
    level, left = [path], dict[str, DataError]()
    for _ in range(DEPTH):
        level = [child for folder in level for child in _folders(folder)] if len(level) <= BESIDE else []
        found: list[Found] = []
        for folder in level:
            try:
                found += _folder(folder, named)
            except DataError as error:
                left[folder.relative_to(path).as_posix()] = error
        if found:
            notes = tuple(f"not read: {name} ({error.what})" for name, error in left.items())
            return [replace(found[0], notes=found[0].notes + notes), *found[1:]]
    if left:
        raise next(iter(left.values()))
    return []


def _is_below(found: Found) -> bool:
    """Whether a folder is no dataset but holds some: its files were found in one of those below."""
    if found.columns is not None or found.reader not in catalogue() or _is_named(found):
        return False
    below = [item for child in _folders(found.folder) for item in _official(child)]
    return len(below) > 1 or any(item.reader == found.reader for item in below)


def _is_named(found: Found) -> bool:
    return found.folder.name in (found.reader, catalogue()[found.reader].folder)


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(HIDDEN))


def _folder(folder: Path, named: Mapping[str, str] | None) -> list[Found]:
    if (folder / FILE).is_file():
        return [Found("table", folder, (ALL,), f"a table with its own {FILE}")]
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return [saved_in(folder, named)]
    official = _official(folder)
    if official:
        return official
    files = [file for base in (folder, folder / "data") if base.is_dir() for file in sorted(base.iterdir())]
    if any(file.suffix == ".tar" for file in files) and _reads("webdataset", folder, ALL):
        return [Found("webdataset", folder, (ALL,), "WebDataset tar files")]
    return files_in(
        folder,
        [file for file in files if file.is_file() and kind_of(file) in TABLES and not file.name.startswith(HIDDEN)],
        named,
    )


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
    return ([found for found in fits if _is_named(found)] or fits)[:1]


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
