"""Work chunk by chunk: killed or damaged at any instant, it ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.io.chunks import resumable
from polite_flamingo.io.text import Row


def row_of(chunk: list[int]) -> list[Row]:
    return [{"id": f"r/{number}", "text": f"It is number {number}."} for number in chunk]


def made(work: Callable[[list[int]], list[Row]], tmp_path: Path) -> int:
    return resumable(range(12), work, out=tmp_path / "out", key="k", work_root=tmp_path / "work", chunk_size=4)


def test_a_bit_flipped_in_a_finished_part_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if killed before the work goes
    made(row_of, tmp_path)
    straight = [path.read_bytes() for path in sorted((tmp_path / "out").glob("*"))]
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", lambda _: None)
    kept, work_folder = tmp_path / "kept", tmp_path / "work"
    work_folder.rename(kept)
    draw = random.Random(1)
    for flip in range(30):
        shutil.copytree(kept, work_folder, dirs_exist_ok=True)
        (part,) = work_folder.rglob("part-000001*")
        damaged = bytearray(part.read_bytes() if flip else b"")
        if damaged:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        part.write_bytes(damaged)
        calls: list[int] = []

        def work(chunk: list[int], calls: list[int] = calls) -> list[Row]:
            calls.append(chunk[0])
            return row_of(chunk)

        assert made(work, tmp_path) == 12
        assert calls == [4]
        assert [path.read_bytes() for path in sorted((tmp_path / "out").iterdir())] == straight


def test_a_part_damaged_while_it_is_published_leaves_the_old_output(tmp_path: Path) -> None:
    made(row_of, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def work(chunk: list[int]) -> list[Row]:
        if chunk[0] == 8:
            (part,) = (tmp_path / "work").rglob("part-000000*")
            part.write_bytes(b"")
        return row_of(chunk)

    with pytest.raises(DataError, match="damaged"):
        made(work, tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert made(row_of, tmp_path) == 12


def test_what_is_published_is_on_the_disk_before_the_work_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync, rmtree = os.fsync, shutil.rmtree

    def remember(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    def gone(path: Path, **options: bool) -> None:
        if "work" in path.parts:
            assert sum(".unnamed" in name or ".publishing/.part" in name for name in synced) >= 3
            assert {str(tmp_path / ".out.publishing"), str(tmp_path)} <= set(synced)
        rmtree(path, **options)

    monkeypatch.setattr(os, "fsync", remember)
    monkeypatch.setattr(shutil, "rmtree", gone)
    made(row_of, tmp_path)
