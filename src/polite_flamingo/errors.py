"""One error family: what went wrong, with which value, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

YAML_HINT = "mend that line: indent by spaces, and put text that holds `: ` or `#`, or begins with * & { [ %, in quotes"


class PoliteFlamingoError(Exception):
    """Base of every error a user can cause and mend.

    Args:
        what: What is wrong, in one sentence without a full stop.
        value: The offending value, shown with ``repr``; omit when there is none.
        where: File, row, key or stage the value came from.
        next_step: What the reader should do now.
    """

    def __init__(self, what: str, *, value: object = None, where: object = None, next_step: str | None = None) -> None:
        self.what = what
        self.value = value
        self.where = None if where is None else str(Path.cwd() if str(where) == "." else where)
        self.next_step = next_step
        parts = [what]
        if value is not None:
            parts.append(f"value: {value!r}")
        if self.where is not None:
            parts.append(f"where: {self.where}")
        if next_step is not None:
            parts.append(f"next: {next_step}")
        super().__init__("\n  ".join(parts))


class ConfigError(PoliteFlamingoError):
    """params.yaml, a profile or a command line holds something unusable."""


class DataError(PoliteFlamingoError):
    """A file or row of a dataset cannot be used."""


class ImageError(DataError):
    """An image is missing, broken, too large or outside the data root."""


class QualityError(PoliteFlamingoError):
    """A quality gate failed; the message names the rows."""


class ModelError(PoliteFlamingoError):
    """Weights or a model folder cannot be used."""


class BusyError(PoliteFlamingoError):
    """Another process already writes to the same output."""


class StorageError(PoliteFlamingoError):
    """A disk is full, read-only or failing; what was written before is intact."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'x'? known: a, b"`` for an unknown `name`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
