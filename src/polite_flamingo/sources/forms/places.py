"""Where an image lies, for datasets whose releases and mirrors put it in different folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.records import Image


def first_existing(root: Path, places: Sequence[Image]) -> Image:
    """The first of `places` with a file below `root`; where there is none, the first of all, its official place."""
    return next((image for image in places if is_file(root / image.path)), places[0])


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name no file can have is one that is not there."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system
        return False
