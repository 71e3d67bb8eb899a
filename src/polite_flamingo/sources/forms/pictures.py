"""Images as rows of other people's files give them: a path, or the bytes themselves."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote

from polite_flamingo.errors import DataError
from polite_flamingo.images import MAX_IMAGE_BYTES, resolve_image
from polite_flamingo.io.files import write_atomic
from polite_flamingo.records import Image
from polite_flamingo.sources.base import below
from polite_flamingo.sources.forms.coco import NAME as COCO
from polite_flamingo.sources.forms.coco import find_image, image_number
from polite_flamingo.sources.forms.paths import is_file

DERIVED = "derived"
MOST_FOLDERS = 20  # below a dataset's, in which an image is looked for
EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "WEBP": "webp", "TIFF": "tif"}
FETCHED_NOWHERE = (
    "image is an address, and none is fetched, for what lies there may change: save the files beside the data and name "
    "them instead"
)
ADDRESS = re.compile(r"[a-z0-9+]+://", re.IGNORECASE)
ENCODED = re.compile(
    r"(?:data:image/[\w.+-]+;base64,)?(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk|SUkq|TU0A)[A-Za-z0-9+/\s]{60,}=*\s*"
)


def in_base64(text: str) -> bytes | None:
    """The bytes of an image written as text in base64, with or without ``data:`` before them; None: another text."""
    try:
        return from_base64(text) if ENCODED.fullmatch(text) else None
    except DataError:
        return None


class Pictures:
    """Turns what a row says about an image into an image of the data root.

    A path is looked for in the dataset's folder, beside that folder and from the data root (an absolute one if it lies
    there), also as other machines spell it; then in the one folder below the dataset's that has it; then a name of
    COCO's among COCO's images. Where there is no such file, it is taken to be in the dataset's folder (from the data
    root with `from_root`). Embedded bytes are written to ``derived/<2 hex>/<sha256>.<extension>``, unless the row also
    names a file that holds just these bytes.

    Args:
        root: Data root.
        folder: The dataset's folder below it.
    """

    def __init__(self, root: Path, folder: str) -> None:
        self._root = root
        self._folder = folder
        above = str(PurePosixPath(folder).parent)
        self._bases = (folder,) if above == "." else (folder, above)
        self.problem: DataError | None = None  # the data root cannot be written: every further row would fail too

    def locate(self, value: Any, *, from_root: bool = False) -> Image:
        """The image of a path, of bytes, also in base64, or of ``{"bytes": …, "path": …}`` (either may be None).

        Raises:
            DataError: none of these, a path out of the data root, or bytes that are no image.
        """
        data, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (None, value)
        if isinstance(name, bytes):
            data, name = name, None
        elif isinstance(name, str) and data is None:
            data = in_base64(name)
            name = name if data is None else None
        if isinstance(data, bytes):
            return self._equal_file(name, data) or self._store(data)
        if isinstance(name, str) and ADDRESS.match(name):
            raise DataError(FETCHED_NOWHERE, value=name[:200])
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)  # images may be called by their numbers
        if not isinstance(name, str):
            raise DataError("image is neither a path nor bytes", value=value)
        return self._find(name, from_root)

    def _find(self, name: str, from_root: bool) -> Image:
        for spelled in spellings(name):
            inside = self._inside(spelled)
            for path in (*(f"{base}/{spelled}" for base in self._bases), spelled) if inside is None else (inside,):
                with suppress(DataError):  # of a path that may not be; said below of the name as it is
                    image = Image(path)
                    if is_file(self._root / image.path):  # links out of the root are refused when it is opened
                        return image
            if inside is None and len(hits := [place for place in self._below if is_file(place / spelled)]) == 1:
                with suppress(DataError, ValueError):
                    return below(self._folder, (hits[0] / spelled).relative_to(self._root / self._folder).as_posix())
        return self._of_coco(name) or (Image(name) if from_root else below(self._folder, name))

    def _of_coco(self, name: str) -> Image | None:
        """The image that COCO's name (of any year) names, where COCO's images lie beside or below."""
        number = image_number(name)
        if number is None or not self._coco:
            return None
        path = find_image(self._root, self._coco, "train2017", number)
        return Image(path) if is_file(self._root / path) else None

    @cached_property
    def _coco(self) -> list[str]:
        folders = (folder for folder in (self._folder, COCO) if (self._root / folder).is_dir())
        return [folder for folder in folders if any((self._root / folder).glob("[tv][ra][al]*20[0-9][0-9]*/"))]

    @cached_property
    def _below(self) -> list[Path]:
        base = self._root / self._folder
        folders = [path for path in base.iterdir() if path.is_dir()] if base.is_dir() else []
        return folders if len(folders) <= MOST_FOLDERS else []

    def _inside(self, name: str) -> str | None:
        """Path below the data root of an absolute one that lies there; None of any other."""
        if not name.startswith("/"):
            return None
        for base in (self._folder, ""):
            with suppress(ValueError, OSError, RuntimeError):
                return str(PurePosixPath(base, Path(name).resolve().relative_to((self._root / base).resolve())))
        return None

    def _equal_file(self, name: Any, data: bytes) -> Image | None:
        """The image of that name, if it exists with these bytes."""
        if not isinstance(name, str):
            return None
        try:
            image = self._find(name, False)
            file = resolve_image(self._root, image.path)
        except DataError:
            return None  # a path of the machine the bytes came from, or a link out of the data root
        same = file.is_file() and file.stat().st_size == len(data) and file.read_bytes() == data
        return image if same else None

    def _store(self, data: bytes) -> Image:
        from PIL import Image as PILModule

        if len(data) > MAX_IMAGE_BYTES:
            raise DataError("embedded image is too large", value=len(data))
        try:
            with PILModule.open(io.BytesIO(data)) as picture:
                extension = EXTENSIONS.get(str(picture.format))
        except Exception:  # decoders raise nearly everything on bytes made to mislead them
            raise DataError("embedded bytes are no image", value=data[:16]) from None
        if extension is None:
            raise DataError("embedded image is of a kind that is not read", value=picture.format)
        digest = hashlib.sha256(data).hexdigest()
        image = Image(f"{DERIVED}/{digest[:2]}/{digest}.{extension}")
        file = self._root / image.path
        if not (file.is_file() and file.stat().st_size == len(data)):
            try:
                write_atomic(file, data)
            except OSError as error:
                self.problem = DataError(
                    "embedded images cannot be written",
                    value=error.strerror,
                    where=self._root / DERIVED,
                    next_step="make the data root writable and see that the disk has room",
                )
                raise self.problem from None
        return image


def spellings(name: str) -> Iterator[str]:
    """A name as it is, then as other machines write it: Windows' separators, escapes of addresses, forms of Unicode."""
    plain = name.strip()
    forms = (name, plain, plain.replace("\\", "/"), unquote(plain), *(normalize(f, plain) for f in ("NFC", "NFD")))
    yield from dict.fromkeys(forms)


def from_base64(text: Any) -> bytes:
    """The bytes of an image that stands in a row as base64, alone or as a ``data:`` address.

    Raises:
        DataError: no such text, or one of more bytes than an image may have, which is not decoded.
    """
    if not isinstance(text, str):
        raise DataError("embedded image is not text", value=type(text).__name__)
    encoded = text.partition(";base64,")[2] if text.startswith("data:") else text
    if len(encoded) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        raise DataError("embedded image is too large", value=len(encoded))
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DataError("embedded image is no base64", value=encoded[:16]) from None
