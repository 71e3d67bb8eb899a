"""What one image file is: one pass over its bytes, nothing judged yet."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.doctor.similar import perceptual_hash
from polite_flamingo.images import MAX_IMAGE_BYTES, MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

THUMBNAIL = (256, 256)  # pixels a JPEG is decoded to at least; all of its bytes are decoded nevertheless
_ONE_PICTURE = {"MPO"}  # several frames, but one picture: a photograph with its preview or depth map
_VERSION = 3  # of what is recorded; another one makes older results stale
ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What was found in one file.

    Args:
        path: Path below the data root; absolute for a file elsewhere.
        size: Bytes.
        modified: Time of the last change, nanoseconds.
        sha256: Of the bytes, hex; None if the file was not read.
        format: Pillow's name of the format, None if it is no image.
        mode: Pillow's name of the pixel form, before decoding.
        width: Pixels, before an EXIF rotation.
        height: Pixels, before an EXIF rotation.
        frames: Pictures in the file.
        deep: True for more than 8 bits per channel.
        orientation: EXIF orientation, 1 is upright.
        phash: Perceptual hash, hex; None for broken and for even pictures.
        problem: Why the picture cannot be had: ``empty``, ``not_an_image``, ``truncated``, ``broken``, ``enormous``,
            ``outside`` or ``missing``; None: it can.
        detail: What the decoder said.
    """

    path: str
    size: int = 0
    modified: int = 0
    sha256: str | None = None
    format: str | None = None
    mode: str | None = None
    width: int = 0
    height: int = 0
    frames: int = 1
    deep: bool = False
    orientation: int = 1
    phash: str | None = None
    problem: str | None = None
    detail: str = ""

    def to_row(self) -> dict[str, Any]:
        """Flatten for JSON Lines."""
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> ImageFacts | None:
        """Inverse of `to_row`; None for a row of another version or form."""
        values = dict(row)
        if values.pop("version", None) != _VERSION or values.keys() != {field.name for field in fields(cls)}:
            return None
        return cls(**values)


def examine(root: Path, path: str) -> ImageFacts:
    """Read one image file and decode it wholly.

    Args:
        root: Resolved data root.
        path: Path below `root`; an absolute one is taken as it is.

    Returns:
        What it is. Nothing a file holds raises; what a decoder throws is kept as `detail`.
    """
    file = root / path
    facts: dict[str, Any] = {}
    try:
        if not Path(path).is_absolute() and not file.resolve().is_relative_to(root):
            return ImageFacts(path, problem="outside", detail="a link that leads out of the data root")
        stat = file.stat()
        facts.update(size=stat.st_size, modified=stat.st_mtime_ns)
        if stat.st_size == 0:
            return ImageFacts(path, problem="empty", **facts)
        if stat.st_size > MAX_IMAGE_BYTES:
            return ImageFacts(path, problem="enormous", detail=f"{stat.st_size} bytes", **facts)
        with open(file, "rb") as opened:
            facts["sha256"] = hashlib.file_digest(opened, "sha256").hexdigest()
            opened.seek(0)
            _decode(opened, facts)
    except FileNotFoundError:
        return ImageFacts(path, problem="missing", **facts)
    except Exception as error:  # decoders raise nearly everything on bytes made to mislead them
        return ImageFacts(path, **{**facts, "phash": None}, problem=_problem(error, facts), detail=_first_line(error))
    return ImageFacts(path, **facts)


class _EnormousError(Exception):
    pass


class _NumbersError(Exception):
    pass


def _decode(file: Any, facts: dict[str, Any]) -> None:
    from PIL import Image as PILModule

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with PILModule.open(file) as image:
            facts.update(format=image.format, mode=image.mode, width=image.width, height=image.height)
            if image.width * image.height > MAX_PIXELS:
                raise _EnormousError(f"{image.width} x {image.height} pixels")
            if image.mode in ("I", "F"):
                raise _NumbersError(f"mode {image.mode}")
            facts["deep"] = image.mode.startswith(("I", "F")) or _raw_mode_is_deep(image)
            if image.format not in _ONE_PICTURE:
                facts["frames"] = getattr(image, "n_frames", 1)
                image.seek(0)
            image.draft("L", THUMBNAIL)
            image.load()
            orientation = image.getexif().get(ORIENTATION, 1)
            facts["orientation"] = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
            value = perceptual_hash(_upright(image, facts["orientation"]))
            facts["phash"] = None if value is None else f"{value:016x}"


def _raw_mode_is_deep(image: PILImage) -> bool:
    # Pillow decodes 16-bit colour to 8 bits: only the decoder's arguments, not the mode, know it
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _upright(image: PILImage, orientation: int) -> PILImage:
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _problem(error: Exception, facts: Mapping[str, Any]) -> str:
    from PIL import Image as PILModule

    if isinstance(error, _EnormousError | PILModule.DecompressionBombError | MemoryError):
        return "enormous"
    if isinstance(error, _NumbersError):
        return "numbers"
    if isinstance(error, PILModule.UnidentifiedImageError):
        return "not_an_image"
    words = str(error).lower()
    return "truncated" if isinstance(error, EOFError) or "truncated" in words or "not enough" in words else "broken"


def _first_line(error: Exception) -> str:
    from PIL import Image as PILModule

    if isinstance(error, PILModule.UnidentifiedImageError):
        return "no image format that Pillow knows"
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
