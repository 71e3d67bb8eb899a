"""Paths of images, for datasets whose releases and mirrors put them in different folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.records import Image


def first_existing(root: Path, candidates: Sequence[Image]) -> Image:
    """The first of `candidates` with a file below `root`; where there is none, the first of all, its official path."""
    return next((image for image in candidates if is_file(root / image.path)), candidates[0])


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name no file can have is one that is not there."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system
        return False
