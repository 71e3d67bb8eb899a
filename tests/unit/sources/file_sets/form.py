"""A form that a reader reads, and who writes files of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.unit.sources.file_sets.pieces import Files, Record

Records = Sequence[Record]
Build = Callable[[Files, Records], None]


@dataclass(frozen=True)
class Case:
    """A form that a reader reads.

    Args:
        source: Name in the catalogue.
        split: Split to read.
        build: Writes the files into the folder ``set`` and its siblings.
        label: Tells forms of one reader apart.
        per_record: Samples of one record.
        own: Whether damage to one record must leave the others alone; not so in binary files and quoted tables, where
            one byte can shift all that follows.
        columns: Records share the bytes of their columns (Parquet): damage can turn any of them into one that is passed
            over on purpose (another language), so that only crashes count.
        numbered: Records are named by their line, so that a line end more or less renames all that follow.
    """

    source: str
    split: str
    build: Build
    label: str = ""
    per_record: int = 1
    own: bool = True
    columns: bool = False
    numbered: bool = False

    def __str__(self) -> str:
        return f"{self.source}-{self.label}" if self.label else self.source


def case_into(cases: list[Case]) -> Callable[..., Callable[[Build], Build]]:
    """What registers a builder into `cases`; several times for readers that share a form."""

    def case(source: str, split: str, label: str = "", **options: Any) -> Callable[[Build], Build]:
        def register(build: Build) -> Build:
            cases.append(Case(source, split, build, label, **options))
            return build

        return register

    return case
