"""Files and folders that take a place: whole or not at all."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from polite_flamingo.errors import BusyError, refusal
from polite_flamingo.io.files import publishing, replacing
from polite_flamingo.io.shards import write_shard
from polite_flamingo.io.text import write_csv, write_json, write_jsonl


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


def test_two_that_publish_the_same_folder_never_mix_their_files(tmp_path: Path) -> None:
    with publishing(tmp_path / "out") as staging:
        (staging / "a").touch()
        with pytest.raises(BusyError, match="another process is writing"), publishing(tmp_path / "out"):
            pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


def test_whatever_is_written_a_refusal_of_the_kernel_names_it_and_spares_what_was_there(tmp_path: Path) -> None:
    text = "".join(map(str, range(20_000)))
    rows = [{"text": text[place : place + 900]} for place in range(0, 90_000, 900)]

    def publish(folder: Path) -> None:
        with publishing(folder) as staging:
            (staging / "a").write_text(text)

    writes: dict[str, Callable[[Path], object]] = {
        "b.json": lambda path: write_json(path, text),
        "c.jsonl": lambda path: write_jsonl(path, rows),
        "d.csv": lambda path: write_csv(path, ["text"], [[text]]),
        "e.parquet": lambda path: write_shard(path, rows),
        "folder": publish,
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, write in writes.items():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            with pytest.raises(OSError) as refused:
                write(tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        told = refusal(refused.value)
        assert told is not None
        assert (told.what, told.where) == ("the file would grow above the limit", str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []
