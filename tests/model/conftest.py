"""Fixtures of the model tests: a saved micro Flamingo and a few images."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.model.micro import build_micro


@pytest.fixture(scope="session")
def micro_flamingo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved micro Flamingo."""
    from polite_flamingo.model.flamingo import save_flamingo

    folder = tmp_path_factory.mktemp("micro_flamingo")
    save_flamingo(build_micro(), folder)
    return folder


@pytest.fixture(scope="session")
def loaded_micro(micro_flamingo_folder: Path) -> Any:
    """The micro Flamingo loaded from its folder, for `micro` to copy."""
    from polite_flamingo.model.flamingo import load_flamingo

    return load_flamingo(micro_flamingo_folder)


@pytest.fixture
def micro(loaded_micro: Any) -> Any:
    """A loaded micro Flamingo that a test may change."""
    return deepcopy(loaded_micro)


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of plain random colours, named 0.png to 5.png."""
    from PIL import Image

    root = tmp_path_factory.mktemp("images")
    rng = Random(1)
    for index in range(6):
        image = Image.new("RGB", (32, 32), tuple(rng.randrange(256) for _ in range(3)))
        for _ in range(300):
            image.putpixel((rng.randrange(32), rng.randrange(32)), tuple(rng.randrange(256) for _ in range(3)))
        image.save(root / f"{index}.png")
    return root
