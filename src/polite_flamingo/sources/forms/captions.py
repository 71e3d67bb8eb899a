"""What the captioning readers share: the sample itself and lines or Karpathy items grouped by image."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import CAPTION, draw_request
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, Licensed, Source, attempt, need, single_turn
from polite_flamingo.sources.forms.files import open_file, relative
from polite_flamingo.sources.forms.karpathy import karpathy_images, raw_sentences

ALL = "all"  # the split that leaves nothing out


def caption_sample(
    reader: Licensed,
    split: str,
    official: object,
    image: Image,
    captions: Sequence[str],
    seed: int,
    *,
    answer: str | None = None,
    request: Sequence[str] = CAPTION,
    **extras: Any,
) -> Sample:
    """One image with all its captions, one per line, as the raw answer (the form of PF-1M's records).

    Args:
        reader: Gives name and licence.
        split: Split as the dataset names it.
        official: The record's official id, last part of the sample's id.
        image: What is described.
        captions: At least one.
        seed: Seed of the request's wording.
        answer: The raw answer where it is more than the captions.
        request: Wordings the request is drawn from.
        extras: More of the sample's extras.
    """
    sample_id = f"{reader.name}/{split}/{official}"
    return single_turn(
        reader,
        split,
        sample_id,
        Task.CAPTION,
        question=draw_request(request, seed=seed, sample_id=sample_id),
        answer="\n".join(captions) if answer is None else answer,
        images=(image,),
        extras={"captions": list(captions), **extras},
    )


def stem(name: str) -> str:
    """A file name without its ending: the official id where images are named by it."""
    return name.rpartition(".")[0] or name


def group_lines(
    source: str,
    root: Path,
    file: Path,
    parse: Callable[[str], tuple[str, str] | None],
    chosen: Container[str] | None = None,
) -> Iterator[Reject | tuple[int, str, list[str]]]:
    """Yield a `Reject` for each line that is none, then (first line, image name, captions) of each image.

    Images come in the order of their first lines; names and captions of the whole file are held in memory.

    Args:
        source: Registry name of the reader.
        root: Data root.
        file: A text file below it, one caption per line.
        parse: Gives the image name and the caption of a line, None for a header; a `DataError` rejects the line.
        chosen: Names of the images wanted, None for all.
    """
    by_image: dict[str, tuple[int, list[str]]] = {}
    with open_file(file) as lines:
        for number, raw in enumerate(lines, 1):
            try:
                line = decode(raw)
                parsed = parse(line) if line.strip() else None
            except DataError as error:
                excerpt = raw.decode("utf-8", "replace").rstrip("\r\n")[:VALUE_LENGTH]
                yield Reject(source, relative(root, file), str(number), error.what, excerpt)
                continue
            if parsed is not None and (chosen is None or parsed[0] in chosen):
                by_image.setdefault(parsed[0], (number, []))[1].append(" ".join(parsed[1].split()))
    yield from ((number, name, captions) for name, (number, captions) in by_image.items())


def token_line(line: str) -> tuple[str, str]:
    """Image name and caption of a line ``NAME.jpg#N<TAB>caption``, the form of Flickr8k and Flickr30k."""
    match = re.fullmatch(r"(.+)#\d+\t(.*\S.*)", line)
    if match is None:
        raise DataError("line is not 'NAME#N<TAB>caption'")
    return match.group(1), match.group(2)


def comma_lines(names: str) -> Callable[[str], tuple[str, str] | None]:
    """Parser of lines ``NAME.jpg,caption`` or ``NAME.jpg,N,caption``, the form of Flickr8k and Flickr30k on Kaggle.

    Args:
        names: Pattern of the images' names, by which another set's file is told.
    """
    pattern = re.compile(names)

    def parse(line: str) -> tuple[str, str] | None:
        name, *rest = next(csv.reader([line]))
        if name in ("image", "image_name"):
            return None
        caption = ",".join(rest[1:] if len(rest) > 1 and rest[0].strip().isdigit() else rest)
        if not pattern.fullmatch(name) or not caption.strip():
            raise DataError("line is not 'NAME,caption'")
        return name, caption

    return parse


def decode(raw: bytes) -> str:
    """The text of a line, without its end.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError("line is not UTF-8", value=error.reason) from None


def karpathy_samples(
    reader: Source,
    root: Path,
    file: Path,
    split: str,
    locate: Callable[[str], Image],
    seed: int,
    *,
    distinct: bool = False,
) -> Iterator[Sample | Reject]:
    """Read the items of one split of a file in the Karpathy form, streamed.

    Args:
        reader: Gives name and licence.
        root: Data root.
        file: The JSON file below it.
        split: Split as the items name it, or `ALL`.
        locate: Gives the image of a file name.
        seed: Seed of the requests' wording.
        distinct: Leave out captions that repeat one of the same image.

    Raises:
        DataError: the file is broken or has no item of the split.
    """

    def make(record: Any) -> Sample:
        if split != ALL:
            need(record, "split", str)
        name = need(record, "filename", str)
        captions = raw_sentences(record)
        return caption_sample(
            reader, split, stem(name), locate(name), list(dict.fromkeys(captions)) if distinct else captions, seed
        )

    seen: set[str] = set()
    empty = True
    for row, record in enumerate(karpathy_images(file)):
        named = record.get("split") if isinstance(record, dict) else None
        if isinstance(named, str):
            seen.add(named)
            if split not in (ALL, named):
                continue
        empty = False
        yield attempt(reader.name, relative(root, file), row, make, record)
    if empty:
        raise DataError(
            "file has no row of this split", value=split, where=file, next_step=f"use one of {sorted(seen)}"
        )
