"""Files and shards: streaming read, atomic write, resumable work.

A folder of shards holds ``part-000000.parquet``, ``part-000001.parquet`` …; their order is the order of the records.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from polite_flamingo.errors import BusyError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
WRITTEN_BY = "`polite-flamingo run` writes what is not there yet; else check the path"
T = TypeVar("T")


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary file's path beside `path` that takes its place when the block ends well.

    A reader sees the old or the new content, never half of it; what an exception leaves behind is removed. Threads and
    processes may write the same file at the same time.

    Args:
        path: The file.
        durable: Fsync it, so that it survives a power cut; without, for many small files that can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield tmp
        if durable:
            with open(tmp, "rb") as file:
                os.fsync(file.fileno())
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place when the block ends well.

    So `folder` is as it was before or complete, or (killed between two renames) absent, but never half there; what a
    killed run left of an earlier attempt is removed first.
    """
    staging, old = (folder.with_name(f".{folder.name}.{state}") for state in ("publishing", "old"))
    for left in (staging, old):
        shutil.rmtree(left, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if folder.is_dir():
            os.replace(folder, old)
        os.replace(staging, folder)
    finally:
        if old.is_dir() and not folder.exists():
            os.replace(old, folder)
        for left in (staging, old):
            shutil.rmtree(left, ignore_errors=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replacing(path) as tmp:
        tmp.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented, key-sorted JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one is a `DataError` naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("file does not exist", where=path, next_step=WRITTEN_BY) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            "file is not valid JSON", value=str(error), where=path, next_step="fix or re-create it"
        ) from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a small table with a line of column names, atomically; None is an empty cell."""
    with replacing(path) as tmp, open(tmp, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON Lines, atomically; return their number."""
    count = 0
    with replacing(path) as tmp, open(tmp, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
            count += 1
        file.flush()
    return count


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file; a broken line is a `DataError` naming its number."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(
                    "line is not valid JSON",
                    value=str(error),
                    where=f"{path}:{number}",
                    next_step="mend or delete this line",
                ) from None


def write_shard(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> None:
    """Write one Parquet shard atomically; equal rows give equal bytes. Without `schema` types come from the rows."""
    names = schema.names if schema is not None else list(rows[0]) if rows else []
    _write_columns(path, {name: [row.get(name) for row in rows] for name in names}, schema)


def _write_columns(path: Path, columns: dict[str, list[Any]], schema: pa.Schema | None) -> None:
    """Write a shard; every column's values are let go as soon as they are in the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name in list(columns):
        arrays[name] = pa.array(columns.pop(name), None if schema is None else schema.field(name).type)
    with replacing(path) as tmp:
        pq.write_table(pa.Table.from_pydict(arrays, schema=schema), tmp, compression="zstd")


def write_shards(folder: Path, rows: Iterable[Mapping[str, Any]], rows_per_shard: int = 10_000) -> int:
    """Write `rows` as numbered shards into a fresh `folder`; return their number of rows."""
    shutil.rmtree(folder, ignore_errors=True)
    count = 0
    with ShardWriter(folder, rows_per_shard=rows_per_shard) as writer:  # which holds the rows of one shard alone
        for row in rows:
            writer.write(row)
            count += 1
    return count


class ShardWriter:
    """A fresh shard folder written row by row; its last shard is written when the ``with`` block ends well.

    The first row of a shard names its columns, unless `schema` does. Memory holds the values of one shard, by column,
    which takes half of what its rows would.
    """

    def __init__(self, folder: Path, schema: pa.Schema | None = None, rows_per_shard: int = 10_000) -> None:
        self._folder, self._schema, self._size = folder, schema, rows_per_shard
        self._columns: dict[str, list[Any]] = {}
        self._rows = self._index = 0

    def __enter__(self) -> ShardWriter:
        self._folder.mkdir(parents=True)
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        if self._rows == 0:
            self._columns = {name: [] for name in (row if self._schema is None else self._schema.names)}
        for name, values in self._columns.items():
            values.append(row.get(name))
        self._rows += 1
        if self._rows == self._size:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            _write_columns(self._folder / f"part-{self._index:06d}.parquet", self._columns, self._schema)
            self._index += 1
            self._rows, self._columns = 0, {}

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._flush()


def read_shards(folder: Path, columns: Sequence[str] | None = None, start: int = 0) -> Iterator[Row]:
    """Stream the rows of a shard folder in order from number `start` on, only `columns` if given."""
    import pyarrow.parquet as pq

    if not folder.is_dir():
        raise DataError("folder of records does not exist", where=folder, next_step=WRITTEN_BY)
    for path in sorted(folder.glob("part-*.parquet")):
        if start and (rows := pq.read_metadata(path).num_rows) <= start:
            start -= rows
            continue
        yield from islice(read_shard(path, columns), start, None)
        start = 0


def read_shard(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Stream the rows of one shard, only `columns` if given."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=None if columns is None else list(columns)):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(
            "shard cannot be read",
            value=str(error),
            where=path,
            next_step="delete it; `polite-flamingo run` makes it again",
        ) from error


def count_shards(folder: Path) -> int:
    """Number of rows in a shard folder, from the footers alone."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in sorted(folder.glob("part-*.parquet")))


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


def fingerprint(*parts: object) -> str:
    """Content hash of JSON-able `parts`; a `Path` counts with the bytes of its file or of every file below it."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = [part] if part.is_file() else sorted(p for p in part.rglob("*") if p.is_file())
            for file in files:
                digest.update(file.relative_to(part.parent).as_posix().encode())
                digest.update(hash_file(file).encode())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

    Finished chunks live in ``work_root/<last three names of out>/<key>`` until all are there and are then moved to
    `out`, so `out` is complete or absent. Chunk boundaries depend on `chunk_size` alone, so a resumed run ends
    byte-identical.

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
    """
    from tqdm import tqdm

    folder = work_root / "-".join(out.parts[-3:]) / key
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / "lock", where=out):
        rows_total = 0
        last = -1
        with tqdm(total=total, desc=label or out.name, unit="rec", mininterval=1.0) as bar:
            for index, chunk in enumerate(chunked(items, chunk_size)):
                shard = folder / f"part-{index:06d}.parquet"
                if not shard.exists():
                    write_shard(shard, work(chunk))
                bar.update(len(chunk))
                last = index
        with publishing(out) as staging:
            for index in range(last + 1):
                source = folder / f"part-{index:06d}.parquet"
                shutil.copyfile(source, staging / source.name)
        rows_total = count_shards(out)
        shutil.rmtree(folder)
    return rows_total


@contextmanager
def locked(path: Path, *, where: object = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; a second process gets a `BusyError` at once. A killed holder frees it.

    The file goes away with the lock; that of a killed holder stays, and is taken by the next one.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BusyError(
                    "another process is writing this output", where=where or path, next_step="wait for it or stop it"
                ) from None
            if not _is_file_of(path, file):
                continue  # the holder before has removed it meanwhile
            try:
                yield
            finally:
                if _is_file_of(path, file):
                    path.unlink()
            return


def _is_file_of(path: Path, file: IO[str]) -> bool:
    """Whether an open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
