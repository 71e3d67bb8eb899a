import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as PILImage
from PIL import ImageDraw


@pytest.fixture
def picture() -> Callable[..., PILImage.Image]:
    """Makes a picture whose content depends on its seed alone."""

    def make(seed: int, size: tuple[int, int] = (96, 64)) -> PILImage.Image:
        rng = random.Random(seed)
        coarse = PILImage.frombytes("RGB", (8, 6), rng.randbytes(8 * 6 * 3))
        image = coarse.resize((192, 128), PILImage.Resampling.BICUBIC)
        x, y = rng.randrange(120), rng.randrange(80)
        ImageDraw.Draw(image).rectangle((x, y, x + 60, y + 40), fill=(255, 255, 0))
        return image.resize(size)

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Saves a picture, or bytes as they are, below ``tmp_path/data``."""

    def write(name: str, content: PILImage.Image | bytes, **options: object) -> Path:
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            content.save(file, **options)
        return file

    return write


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """A picture's bytes in a format."""

    def encode(image: PILImage.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return encode
