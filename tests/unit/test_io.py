"""Files and folders that take a place: whole or not at all."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from polite_flamingo.errors import BusyError
from polite_flamingo.io import locked, publishing, replacing


def test_threads_may_write_the_same_file_at_the_same_time(tmp_path: Path) -> None:
    together = Barrier(2)

    def write(text: str) -> None:
        with replacing(tmp_path / "file") as tmp:
            tmp.write_text(text)
            together.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ("one", "two")))
    assert (tmp_path / "file").read_text() in ("one", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_published_folder_is_never_half_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    with publishing(folder) as staging:
        (staging / "old").touch()
    removed: list[Path] = []
    real = shutil.rmtree

    def remember(path: Path, **options: bool) -> None:
        removed.append(path)
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remember)
    with publishing(folder) as staging:
        (staging / "new").touch()
    assert folder not in removed
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(RuntimeError), publishing(folder) as staging:
        raise RuntimeError
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()  # of a holder that was killed
    with locked(path):
        with pytest.raises(BusyError), locked(path):
            pass
        assert path.exists(), "the refused one does not take it away"
    assert not path.exists()
