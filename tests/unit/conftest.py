"""A headless browser for the tests of pages; where there is none, they are skipped with a word."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

SYSTEM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A started Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")
    with api.sync_playwright() as player:
        try:
            found = player.chromium.launch(executable_path=SYSTEM, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no browser here (playwright install chromium): {str(error).splitlines()[0]}")
        yield found
        found.close()
