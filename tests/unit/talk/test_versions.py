"""Versions of the registry on this machine: two processes, and how many stay."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polite_flamingo.talk import versions


class Registry:
    """Hands out files slowly, and counts them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def file(self, version: Any, path: str, folder: Path) -> None:
        self.asked.append(path)
        time.sleep(0.02)
        (folder / path).write_text(str(version.number))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(versions, "VERSIONS", tmp_path)
    monkeypatch.setattr(versions, "LOOK", 0.01)
    return Registry()


def _version(number: int) -> Any:
    return SimpleNamespace(name="rewriter", number=number, created=1.0)


def test_who_asks_at_the_same_time_waits_and_downloads_once(registry: Registry) -> None:
    found: list[Path] = []
    askers = [
        threading.Thread(target=lambda: found.append(versions.downloaded(registry, _version(1)))) for _ in range(3)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(found) == 3 and len(set(found)) == 1 and (found[0] / "MLmodel").read_text() == "1"
    assert registry.asked == ["MLmodel", "artifacts"]


def test_a_few_versions_stay_and_those_that_may_be_loading(registry: Registry, tmp_path: Path) -> None:
    folders = [versions.downloaded(registry, _version(number)) for number in range(versions.KEPT + 2)]
    assert all(folder.is_dir() for folder in folders)  # all were asked for just now
    for age, folder in enumerate(reversed(folders)):
        os.utime(folder, (0, time.time() - versions.RECENT * (age + 1.5)))
    (tmp_path / "rewriter" / ".9-abc.publishing").mkdir()  # of a killed process
    versions.downloaded(registry, _version(0))
    kept = {path for path in (tmp_path / "rewriter").iterdir() if path.is_dir()}
    assert kept == {folders[0], *folders[-versions.KEPT + 1 :]}
