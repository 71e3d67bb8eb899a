"""Image files for the formats that hold them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from polite_flamingo.errors import ImageError
from polite_flamingo.export.kept import KeptRecord
from polite_flamingo.images import MAX_IMAGE_BYTES, resolve_image
from polite_flamingo.records import Image, Sample

FOLDER = "images"  # of the files that an export carries


def carried(kept: KeptRecord, root: Path, folder: Path) -> KeptRecord:
    """The record with its images in the folder of the export, where they are copied unless they are there already.

    Args:
        kept: A record.
        root: Data root.
        folder: Of the export.

    Raises:
        ImageError: an image is missing or too large.
    """
    images = []
    for image in kept.rewrite.images:
        file, copy = _file(root, image.path), Image(f"{FOLDER}/{image.path}")
        if not (folder / copy.path).is_file():
            (folder / copy.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / copy.path)
        images.append(copy)
    return replace(kept, rewrite=replace(kept.rewrite, images=tuple(images)))


def image_bytes(root: Path, sample: Sample) -> list[bytes]:
    """The files of a sample's images, as they are.

    Raises:
        ImageError: one is missing or too large.
    """
    return [_file(root, image.path).read_bytes() for image in sample.images]


def _file(root: Path, path: str) -> Path:
    file = resolve_image(root, path)
    if not file.is_file():
        raise ImageError("image is missing", value=path, where=root)
    if file.stat().st_size > MAX_IMAGE_BYTES:
        raise ImageError("image file is too large", value=path, where=root)
    return file
