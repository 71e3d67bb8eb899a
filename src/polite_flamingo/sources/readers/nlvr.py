"""NLVR and NLVR2: statements on drawn scenes and on pairs of photographs, JSON Lines in files named .json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need
from polite_flamingo.sources.forms.files import find_one, read_lines, relative
from polite_flamingo.sources.forms.paths import first_existing
from polite_flamingo.sources.forms.statements import statement_sample, truth


class Nlvr:
    """NLVR; a picture of three boxes with shapes and a sentence about it, answered "True" or "False" (section 5).

    Each statement comes with six pictures that differ in the order of the boxes; the first is taken.
    """

    name = "nlvr"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``[[nlvr/]<split>/]<split>.json``; pictures lie in ``images/<directory>/`` beside it, or ``images/``."""
        names = (f"{split}.json", f"{split}.*.json", f"{split}/{split}.json", f"nlvr/{split}/{split}.json")
        file = find_one(root, folder, *names)
        where, beside = relative(root, file), relative(root, file.parent)
        for row, record in read_lines(self.name, root, file):
            if isinstance(record, Reject):
                yield record
            else:
                yield attempt(self.name, where, row, self._sample, root, beside, split, record, seed)

    def _sample(self, root: Path, beside: str, split: str, record: Any, seed: int) -> Sample:
        official, statement = need(record, "identifier", str), need(record, "sentence", str)
        name = f"{split}-{official}-0.png"
        folders = (f"{beside}/images/{_directory(record)}".rstrip("/"), f"{beside}/images")
        image = first_existing(root, [below(folder, name) for folder in folders])
        return statement_sample(self, split, official, statement, truth(record), (image,), seed, {})


class Nlvr2:
    """NLVR2; two photographs and a sentence about both, answered "True" or "False" (section 5)."""

    name = "nlvr2"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0; the photographs for research only"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``[[nlvr2/]data/]<split>.json``.

        Images are ``<split>/[<directory>/]<identifier less its last part>-img0.png`` and ``-img1.png``, with or without
        ``images/`` before them; only the training split has directories.
        """
        file = find_one(root, folder, f"{split}.json", f"data/{split}.json", f"nlvr2/data/{split}.json")
        where = relative(root, file)
        for row, record in read_lines(self.name, root, file):
            if isinstance(record, Reject):
                yield record
            else:
                yield attempt(self.name, where, row, self._sample, root, folder, split, record, seed)

    def _sample(self, root: Path, folder: str, split: str, record: Any, seed: int) -> Sample:
        official, statement = need(record, "identifier", str), need(record, "sentence", str)
        match = re.fullmatch(r"(.+-\d+-\d+)-\d+", official)
        if match is None:
            raise DataError("'identifier' is not <split>-<set>-<pair>-<sentence>", value=official)
        stem, directory = match.group(1), _directory(record)
        bases = [f"{folder}/images/{split}", f"{folder}/{split}", f"{folder}/images"]
        folders = [f"{base}/{directory}" for base in bases if directory] + bases
        images = [first_existing(root, [below(each, f"{stem}-img{side}.png") for each in folders]) for side in (0, 1)]
        return statement_sample(self, split, official, statement, truth(record), images, seed, {})


def _directory(record: Any) -> str:
    value = record.get("directory")
    if not isinstance(value, int | str | None):
        raise DataError("'directory' is neither text nor number", value=value)
    return "" if value is None else str(value)
