from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    Image.effect_noise((900, 300), 80).convert("RGB").save(folder / "wide.png")
    exif = Image.Exif()
    exif[0x010E] = "a private description"
    Image.new("RGB", (40, 20), "red").save(folder / "red.jpg", exif=exif)
    (folder / "broken.png").write_bytes(b"no image")
    return folder
