"""Work chunk by chunk, which goes on after a kill where it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import publishing, replacing, set_aside
from polite_flamingo.io.hashes import OTHER_BYTES, hash_file
from polite_flamingo.io.locks import locked
from polite_flamingo.io.shards import count_shards, write_shard
from polite_flamingo.io.text import Row

T = TypeVar("T")


def chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` items."""
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def resumable(
    items: Iterable[T],
    work: Callable[[list[T]], list[Row]],
    *,
    out: Path,
    key: str,
    work_root: Path = Path(".work"),
    chunk_size: int = 64,
    total: int | None = None,
    label: str = "",
) -> int:
    """Map `work` over chunks of `items` into shards at `out`; killed at any instant, it goes on where it was.

    Finished chunks live in ``work_root/<last three names of out>/<key>`` until all are there and are then linked
    (copied to another disk) to `out`, so `out` is complete or absent. Chunk boundaries depend on `chunk_size` alone:
    a resumed run ends byte-identical. A finished chunk has the hash of its bytes in its name; damaged ones are set
    aside and made again.

    Args:
        items: The inputs, in a fixed order.
        work: Turns a chunk into its rows (as many as it likes).
        out: Shard folder to publish.
        key: Fingerprint of inputs, weights, prompts and settings; another key never reuses stale work.
        work_root: Folder for unfinished work (git-ignored).
        chunk_size: Items recomputed at most after a kill.
        total: Number of items, for the progress bar.
        label: Name on the progress bar.

    Returns:
        Number of rows in `out`.

    Raises:
        BusyError: another process writes the same output.
        DataError: a chunk finished in this run was damaged meanwhile; `out` is as it was.
    """
    from tqdm import tqdm

    folder = work_root / "-".join(out.parts[-3:]) / key
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / "lock", where=out):
        parts = _Parts(folder)
        with tqdm(total=total, desc=label or out.name, unit="rec", mininterval=1.0) as bar:
            for index, chunk in enumerate(chunked(items, chunk_size)):
                if not parts.take(index):
                    parts.write(index, work(chunk))
                bar.update(len(chunk))
        with publishing(out) as staging:
            parts.publish(staging)
            rows = count_shards(staging)
        shutil.rmtree(folder)
    return rows


class _Parts:
    """The finished chunks of a resumable work, ``part-000003-<hash of its bytes>.parquet``.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found = {path.name[5:11]: path for path in folder.glob("part-*.parquet") if path.name[11:12] == "-"}
        self._taken: dict[int, Path] = {}

    def take(self, index: int) -> bool:
        """Whether an earlier run finished the chunk."""
        path = self._found.get(f"{index:06d}")
        if path is None:
            return False
        if hash_file(path) != path.stem[12:]:
            set_aside(path, OTHER_BYTES)
            return False
        self._taken[index] = path
        return True

    def write(self, index: int, rows: list[Row]) -> None:
        """Finish a chunk."""
        unnamed = self._folder / "unnamed"
        write_shard(unnamed, rows)
        path = self._folder / f"part-{index:06d}-{hash_file(unnamed)}.parquet"
        os.replace(unnamed, path)
        self._taken[index] = path

    def publish(self, out: Path) -> None:
        """Put all chunks into `out`, each checked by its hash and on the disk when this returns."""
        for index, path in self._taken.items():
            target = out / f"part-{index:06d}.parquet"
            try:
                os.link(path, target)
            except OSError:  # another disk
                with replacing(target) as copy:
                    shutil.copyfile(path, copy)
            if hash_file(target) != path.stem[12:]:
                set_aside(path, OTHER_BYTES)
                raise DataError(
                    "a finished chunk was damaged on the disk", where=path,
                    next_step="check the disk, then start again: it is made anew, the others are kept",
                )  # fmt: skip
