"""What every reader is, and the checks all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task, Turn, cleaned_sample

T = TypeVar("T")
OTHER_MEDIA = ("video", "videos", "audio", "audios")  # keys of what no model here sees
OTHER_MEDIA_SUFFIXES = frozenset(
    ["avi", "flac", "m4a", "mkv", "mov", "mp3", "mp4", "mpeg", "ogg", "opus", "wav", "webm"]
)
VALUE_LENGTH = 200  # characters of an offending value kept in quarantine


class Licensed(Protocol):
    """What a sample takes from its reader."""

    @property
    def name(self) -> str:
        """Registry name."""

    @property
    def licence(self) -> str:
        """Licence of the annotations."""


class Source(Protocol):
    """One annotation format.

    Attributes:
        name: Registry name, first part of every sample id.
        tasks: Tasks its samples may have.
        licence: Licence of the annotations as the dataset states it.
        siblings: Other folders below the data root it takes images or boxes from.
    """

    name: str
    tasks: frozenset[Task]
    licence: str
    siblings: tuple[str, ...]

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Yield the samples of a split in the order of the official file, and a `Reject` for each unusable row.

        Images are named, not opened; the caller checks that they decode.

        Args:
            root: Data root; image paths of the samples are relative to it.
            folder: The dataset's folder below `root`.
            split: Split as the dataset names it; a mere label where the dataset has no splits.
            seed: Seed of whatever a reader draws, always together with the sample's id.

        Raises:
            DataError: the annotation file as a whole is missing or broken.
        """


def attempt(source: str, file: str, row: object, make: Callable[..., Sample], *args: Any) -> Sample | Reject:
    """Return ``make(*args)``, its texts `cleaned`, or the `Reject` for its row when that raises a `DataError`."""
    try:
        return cleaned_sample(make(*args))
    except DataError as error:
        value = "" if error.value is None else str(error.value)[:VALUE_LENGTH]
        return Reject(source, file, str(row), error.what, value)


def single_turn(
    reader: Licensed,
    split: str,
    sample_id: str,
    task: Task,
    *,
    question: str,
    answer: str,
    images: Sequence[Image] = (),
    extras: Mapping[str, Any] | None = None,
) -> Sample:
    """The sample of one question, asked of all of its images, and the raw answer.

    Args:
        reader: Gives name and licence.
        split: Split as the dataset names it.
        sample_id: ``name/split/official id``.
        task: What is asked.
        question: Question, request or instruction.
        answer: The annotation.
        images: Shown before the question.
        extras: The sample's extras.
    """
    return Sample(
        id=sample_id,
        source=reader.name,
        split=split,
        licence=reader.licence,
        task=task,
        turns=(Turn("human", question, tuple(range(len(images)))), Turn("assistant", answer)),
        images=tuple(images),
        extras={} if extras is None else extras,
    )


def reject_other_media(record: object) -> None:
    """Refuse a record that shows what no model here sees; its text would be about nothing.

    Raises:
        DataError: says under which key.
    """
    for media in OTHER_MEDIA:
        if isinstance(record, dict) and record.get(media):
            raise DataError(f"record has {media}, which is not read", value=record[media])


def need(row: object, key: str, kind: type[T]) -> T:
    """Return ``row[key]``, which must be a `kind` and, if text, not blank (returned stripped).

    Raises:
        DataError: says which key is lacking or wrong.
    """
    if not isinstance(row, dict):
        raise DataError("row is not an object", value=row)
    value: Any = row.get(key)
    if value is None:
        raise DataError(f"row lacks {key!r}", value=sorted(map(str, row)))
    if kind is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise DataError(f"{key!r} is not of type {kind.__name__}", value=value)
    if isinstance(value, str):
        stripped: Any = value.strip()
        if not stripped:
            raise DataError(f"row has an empty {key!r}", value=value)
        return stripped
    return value


def need_texts(row: object, key: str) -> list[str]:
    """Return the non-blank texts of the list ``row[key]``, each on one line; at least one."""
    values = need(row, key, list)
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{key!r} holds something other than text", value=values)
    texts = [" ".join(value.split()) for value in values]
    texts = [text for text in texts if text]
    if not texts:
        raise DataError(f"row has an empty {key!r}", value=values)
    return texts


def below(folder: str, name: str) -> Image:
    """The image `name` of a folder.

    Raises:
        DataError: `name` is absolute or climbs out of the folder.
    """
    return Image(f"{folder}/{Image(name).path}")
