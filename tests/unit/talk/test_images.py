"""Images of a request: counted and looked at before they are decoded; nothing is opened because a text names it."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from polite_flamingo.errors import ImageError
from polite_flamingo.talk.images import ImageLimits, checked_image, own_image


def png(size: tuple[int, int] = (4, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def claimed(width: int, height: int) -> bytes:
    """A small file whose head claims more."""
    data = bytearray(png())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_bytes_files_pictures_and_data_urls_are_the_same_image(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png())
    seen = [checked_image(source) for source in (png(), file, Image.open(file), url(png()))] + [own_image(str(file))]
    assert {image.tobytes() for image in seen} == {Image.new("RGB", (4, 6), "red").tobytes()}


def test_an_image_is_turned_upright() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 6)).save(buffer, "JPEG", exif=exif)
    assert checked_image(buffer.getvalue()).size == (6, 4)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/etc/passwd", "no image as a data URL"),
        ("file:///etc/passwd", "no image as a data URL"),
        ("http://169.254.169.254/", "no image as a data URL"),
        ("data:text/html;base64,AAAA", "no image as a data URL"),
        ("data:image/png;base64,A*", "not in base64"),
        (url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not an image"),
        (b"", "not an image"),
        (png()[:-20], "cannot be decoded"),
        (claimed(10_000, 10_000), "too many pixels"),
        (b"\x89PNG" + bytes(1000), "too large"),
        (Path("nowhere.png"), "no such image"),
        (Path(), "a folder"),
        (Image.new("1", (2000, 2000)), "too many pixels"),
    ],
)
def test_what_is_no_usable_image_is_refused_with_the_reason(source: object, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        checked_image(source, ImageLimits(bytes=800, pixels=1_000_000))  # type: ignore[arg-type]


def test_what_is_transparent_is_white_as_in_an_image_of_a_dataset() -> None:
    drawing = Image.new("RGBA", (4, 6), (0, 0, 0, 0))
    buffer = io.BytesIO()
    drawing.save(buffer, "PNG")
    assert checked_image(buffer.getvalue()).getpixel((0, 0)) == (255, 255, 255)
    assert checked_image(drawing).getpixel((0, 0)) == (255, 255, 255)
