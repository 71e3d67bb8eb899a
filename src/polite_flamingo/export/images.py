"""Image files for the formats that hold them."""

from __future__ import annotations

from pathlib import Path

from polite_flamingo.errors import ImageError
from polite_flamingo.images import MAX_IMAGE_BYTES, resolve_image
from polite_flamingo.records import Sample


def image_bytes(root: Path, sample: Sample) -> list[bytes]:
    """The files of a sample's images, as they are.

    Raises:
        ImageError: one is missing or too large.
    """
    contents = []
    for image in sample.images:
        file = resolve_image(root, image.path)
        if not file.is_file():
            raise ImageError("image is missing", value=image.path, where=root)
        if file.stat().st_size > MAX_IMAGE_BYTES:
            raise ImageError("image file is too large", value=image.path, where=root)
        contents.append(file.read_bytes())
    return contents
