"""Images that come with a request: their bytes are counted and their head is read before anything is decoded.

Nothing here opens an address, and a text is never taken for the name of a file: who calls from this machine says
`pathlib.Path`, or goes through `own_image`.
"""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from polite_flamingo.errors import SHOWN, ImageError
from polite_flamingo.images import IMAGE_FORMATS, MAX_IMAGE_BYTES, MAX_PIXELS, eight_bits

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Source: TypeAlias = "bytes | Path | PILImage | str"
FORMATS = tuple(sorted(set().union(*IMAGE_FORMATS.values()) - {"MPO"}))  # Pillow opens those as JPEG first
HEAD = "data:image/"
SHOWN_DATA = 40  # characters of a data URL in a message


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may be.

    Args:
        bytes: Of its file.
        pixels: Width times height.
    """

    bytes: int = MAX_IMAGE_BYTES
    pixels: int = MAX_PIXELS


def checked_image(source: Source, limits: ImageLimits | None = None, *, where: object = None) -> PILImage:
    """A decoded, upright RGB image of its own; a model's processor brings it to its size.

    Args:
        source: The bytes of a file, a file of this machine, a Pillow image, or a data URL in base64
            (``data:image/png;base64,…``).
        limits: What it may be; None: what the pipeline takes.
        where: The place to name in an error.

    Raises:
        ImageError: it is missing, no image, torn or too large; other text than a data URL is refused.
    """
    from PIL.Image import Image as PILImage

    limits = limits or ImageLimits()
    if isinstance(source, PILImage):
        _check_pixels(source.size, limits, where)
        return _upright(source, where)
    if isinstance(source, Path):
        return _decoded(_read(source, limits), limits, where or source)
    if isinstance(source, str):
        return _decoded(_of_data_url(source, limits, where), limits, where)
    return _decoded(bytes(source), limits, where)


def own_image(source: Source) -> PILImage:
    """`checked_image` for callers of this machine, to whom a text is the path of a file unless it is a data URL."""
    return checked_image(Path(source) if isinstance(source, str) and not source.startswith("data:") else source)


def _read(file: Path, limits: ImageLimits) -> bytes:
    try:
        if not file.is_file():
            what = "a folder, not an image" if file.is_dir() else "no such image"
            raise ImageError(what, where=file, next_step="give the path of an image file")
        with open(file, "rb") as opened:
            return opened.read(limits.bytes + 1)  # one more than it may have, which is counted later
    except OSError as error:
        raise ImageError("image cannot be read", value=error.strerror, where=file) from error
    except ValueError as error:  # a name that no file can have
        raise ImageError("no such image", value=str(error), where=repr(str(file))) from error


def _of_data_url(text: str, limits: ImageLimits, where: object) -> bytes:
    head, _, body = text[: len(HEAD) + 100].partition(",")
    step = "send data:image/png;base64,… (or jpeg, gif, bmp, webp, tiff) with the bytes of the file"
    if not head.lower().startswith(HEAD) or not head.lower().endswith(";base64") or not body:
        raise ImageError(
            "this is no image as a data URL in base64", value=text[:SHOWN_DATA], where=where, next_step=step
        )
    if len(text) > limits.bytes * 4 // 3 + len(head) + 8:
        raise ImageError("image file is too large", value=f"more than {limits.bytes:,} bytes", where=where)
    try:
        return base64.b64decode(text[len(head) + 1 :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError("image is not in base64", value=str(error), where=where, next_step=step) from error


def _decoded(data: bytes, limits: ImageLimits, where: object) -> PILImage:
    from PIL import Image as PILModule

    if len(data) > limits.bytes:
        raise ImageError("image file is too large", value=f"more than {limits.bytes:,} bytes", where=where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PILModule.DecompressionBombWarning)
            with PILModule.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_pixels(image.size, limits, where)
                return _upright(image, where)
    except ImageError:
        raise
    except Exception as error:  # decoders raise nearly everything on bytes made to mislead them
        if isinstance(error, MemoryError):
            raise
        unknown = isinstance(error, PILModule.UnidentifiedImageError)
        raise ImageError(
            "this is not an image" if unknown else "image cannot be decoded",
            value=None if unknown else str(error)[:SHOWN],
            where=where,
            next_step=f"send one of {', '.join(FORMATS)}" if unknown else "replace the file",
        ) from error


def _check_pixels(size: tuple[int, int], limits: ImageLimits, where: object) -> None:
    if size[0] * size[1] > limits.pixels:
        raise ImageError(f"image has too many pixels (at most {limits.pixels:,})", value=size, where=where)
    if not size[0] * size[1]:
        raise ImageError("image has no pixels", value=size, where=where)


def _upright(image: PILImage, where: object) -> PILImage:
    from PIL import ImageOps

    try:
        return eight_bits(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError("image cannot be decoded", value=str(error)[:SHOWN], where=where) from error
