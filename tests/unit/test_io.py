"""Files and folders that take a place: whole or not at all."""

from __future__ import annotations

import os
import random
import resource
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest

from polite_flamingo.errors import BusyError, DataError, refusal
from polite_flamingo.io import (
    SEAL,
    Row,
    count_shards,
    flaw,
    locked,
    publishing,
    read_shards,
    replacing,
    resumable,
    seal,
    write_csv,
    write_json,
    write_jsonl,
    write_shard,
)
from polite_flamingo.records import Image, Sample, Task, Turn


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


def row_of(chunk: list[int]) -> list[Row]:
    return [{"id": f"r/{number}", "text": f"It is number {number}."} for number in chunk]


def made(work: Callable[[list[int]], list[Row]], tmp_path: Path) -> int:
    return resumable(range(12), work, out=tmp_path / "out", key="k", work_root=tmp_path / "work", chunk_size=4)


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


def test_two_that_publish_the_same_folder_never_mix_their_files(tmp_path: Path) -> None:
    with publishing(tmp_path / "out") as staging:
        (staging / "a").touch()
        with pytest.raises(BusyError, match="another process is writing"), publishing(tmp_path / "out"):
            pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


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


def test_a_damaged_shard_is_a_clear_error_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "part-000000.parquet"
    write_shard(path, [sample().to_row()])
    whole = path.read_bytes()
    draw = random.Random(2)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with suppress(DataError):
            list(map(Sample.from_row, read_shards(tmp_path)))
            count_shards(tmp_path)


def sample() -> Sample:
    turns = (Turn("human", "What is it?", (0,)), Turn("assistant", "A cat."))
    return Sample("s/1", "s", "all", "CC0", Task.VQA, turns, (Image("a.png"),), {"answers": ["cat"]})


@pytest.mark.parametrize(
    "odd", [{"turns": "[["}, {"turns": "5"}, {"turns": "[[1,2,3]]"}, {"images": "[5]"}, {"task": "x"}, {"extras": "["}]
)
def test_an_odd_record_is_a_clear_error(odd: Row) -> None:
    with pytest.raises(DataError):
        Sample.from_row({**sample().to_row(), **odd})
    with pytest.raises(DataError):
        Sample.from_row({"id": "s/1"})


def test_a_bit_flipped_anywhere_in_a_sealed_folder_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    (folder / "below").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"abc")
    (folder / "below" / "b.bin").write_bytes(b"")
    assert flaw(folder) == "it is not complete"
    seal(folder)
    assert flaw(folder) is None
    spaces = 0
    for path in (folder / "a.bin", folder / SEAL):
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), 9):
            spoilt = bytearray(whole)
            spoilt[bit // 8] ^= 1 << bit % 8
            path.write_bytes(spoilt)
            spaces += flaw(folder) is None
        path.write_bytes(whole)
    assert spaces < 5, "only JSON's own spaces may change unseen"
    (folder / "stray").touch()
    assert flaw(folder) is not None


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()  # of a holder that was killed
    with locked(path):
        with pytest.raises(BusyError, match=rf"process {os.getpid()} on .+, `.*`, since \d{{4}}-"), locked(path):
            pass
        assert path.exists(), "the refused one does not take it away"
    assert not path.exists()
