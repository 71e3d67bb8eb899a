"""Which datasets are on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polite_flamingo.fetch.record import is_done, read_record, target_of
from polite_flamingo.fetch.transfer import part_of
from polite_flamingo.sources import Entry, load_source
from polite_flamingo.sources.forms.files import has_annotations


@dataclass(frozen=True, slots=True)
class State:
    """How much of a dataset is there.

    Args:
        state: ``present`` (the reader finds the annotations of every split, and nothing that `fetch` began is
            unfinished), ``partial`` or ``absent``.
        splits: Splits whose annotation files the reader finds.
    """

    state: Literal["absent", "partial", "present"]
    splits: tuple[str, ...] = ()


def find_state(entry: Entry, root: Path) -> State:
    """Look for a dataset below the data root. Files are found, not read, and images are not looked for."""
    folder = root / entry.folder
    if not folder.is_dir():
        return State("absent")
    reader = load_source(entry.name)
    splits = tuple(entry.splits) or ("all",)
    readable = tuple(split for split in splits if has_annotations(reader, root, entry.folder, split))
    recorded = read_record(folder)
    begun = [remote for remote in entry.files if remote.to in recorded or part_of(target_of(folder, remote)).exists()]
    if not readable and not begun:
        return State("absent")
    finished = not begun or all(is_done(folder, remote) for remote in entry.files)
    return State("present" if finished and readable == splits else "partial", readable)
