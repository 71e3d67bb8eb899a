"""Fixtures of the rewriting tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def picture() -> Callable[[Path, tuple[int, int, int]], None]:
    """Writes a small image of one colour."""
    from PIL import Image

    def write(path: Path, color: tuple[int, int, int]) -> None:
        Image.new("RGB", (8, 8), color).save(path)

    return write
