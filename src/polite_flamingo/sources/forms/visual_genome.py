"""Where the images of Visual Genome lie: in two archives, and an id alone does not say in which of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polite_flamingo.records import Image
from polite_flamingo.sources.base import below
from polite_flamingo.sources.forms.paths import first_existing

FOLDER = "visual_genome"  # below the data root
PARTS = ("VG_100K", "VG_100K_2")


def find_vg_image(root: Path, folders: Sequence[str], name: str, part: str | None = None) -> Image:
    """The image of a file name, in the first of `folders` that has it in ``VG_100K`` or ``VG_100K_2``.

    When no file exists, its place in the first folder, in `part` if that is known.

    Args:
        root: Data root.
        folders: Folders below it that may hold the two parts.
        name: File name, ``<id>.jpg``.
        part: The part the dataset names, looked into first.

    Raises:
        DataError: the name leads out of the folder.
    """
    parts = PARTS if part is None else (part, *(other for other in PARTS if other != part))
    return first_existing(root, [below(f"{folder}/{inner}", name) for folder in folders for inner in parts])
