"""Files and shards: streaming read, atomic write, resumable work.

A folder of shards holds ``part-000000.parquet``, ``part-000001.parquet`` …; their order is the order of the records.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from polite_flamingo.errors import BusyError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

LOG = logging.getLogger(__name__)

Row = dict[str, Any]
WRITTEN_BY = "`polite-flamingo run` writes what is not there yet; else check the path"
DAMAGED = ".damaged"  # end of the name of a file that was set aside
MADE_AGAIN = "delete it; `polite-flamingo run` makes it again"
T = TypeVar("T")
OTHER_BYTES = "its bytes are not those that were written"
SEAL = "sha256.json"  # hashes of a sealed folder's files
_OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_FORMULA = re.compile(r"'*(?:\s*[=+\-@]|[\t\n])")  # how a cell begins that a spreadsheet computes
_SHARD = re.compile(r"part-\d{6,}\.parquet")
_HASH = b"polite_flamingo.sha256"  # of a checked shard's values, in its footer


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
        with _naming(path, tmp):
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
    killed run left of an earlier attempt is removed first. On return it survives a power cut, if its files do.

    Raises:
        BusyError: another process publishes the same folder.
    """
    with locked(folder.with_name(f".{folder.name}.lock"), where=folder):
        yield from _publishing(folder)


def _publishing(folder: Path) -> Iterator[Path]:
    staging, old = (folder.with_name(f".{folder.name}.{state}") for state in ("publishing", "old"))
    for left in (staging, old):
        shutil.rmtree(left, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with _naming(folder, staging):
            yield staging
            if folder.is_dir():
                os.replace(folder, old)
            sync_folder(staging)
            os.replace(staging, folder)
            sync_folder(folder.parent)
    finally:
        if old.is_dir() and not folder.exists():
            os.replace(old, folder)
        for left in (staging, old):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _naming(path: Path, tmp: Path) -> Iterator[None]:
    """Have an error of a write, which knows no name or that of the temporary file, say what was written."""
    try:
        yield
    except OSError as error:
        if str(error.filename) == str(tmp) or (error.filename is None and error.errno in _OF_DISKS):
            error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def set_aside(path: Path, reason: str, folder: Path | None = None) -> None:
    """Keep a damaged file or folder as ``<name>.damaged``, for a person to look at, and say why; it is to be made anew.

    Args:
        path: What is damaged.
        reason: What is wrong with it.
        folder: Where it is kept, under its whole path in one name; None: beside where it was.
    """
    kept = path.with_name(path.name + DAMAGED)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / ("-".join(path.relative_to(path.anchor).parts) + DAMAGED)
    LOG.warning("%s is set aside as %s and made again: %s", path, kept, reason)
    if kept.is_dir():
        shutil.rmtree(kept)  # of an earlier time
    shutil.move(path, kept)


def seal(folder: Path) -> None:
    """Write the hashes of a folder's files into it, last of all, for `flaw`; then all of it survives a power cut."""
    for path in _files_below(folder):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    write_json(folder / SEAL, {path.relative_to(folder).as_posix(): hash_file(path) for path in _files_below(folder)})
    sync_folder(folder)


def flaw(folder: Path) -> str | None:
    """What is wrong with a folder that `seal` ended; None: it is as it was then."""
    if not (folder / SEAL).is_file():
        return "it is not complete"
    try:
        written = read_json(folder / SEAL)
        found = {path.relative_to(folder).as_posix(): hash_file(path) for path in _files_below(folder)}
    except (DataError, OSError) as error:
        return str(error)
    return None if found == written else OTHER_BYTES


def _files_below(folder: Path) -> list[Path]:
    """The files of a folder, but for its seal."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SEAL)


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
    """Write a small table with a line of column names, atomically; None is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it (`from_cell` takes it away).
    """
    with replacing(path) as tmp, open(tmp, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # a bare one would end the line unquoted
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """A text as it was before `write_csv` wrote it."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


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


def write_shard(
    path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None, *, checked: bool = False
) -> None:
    """Write one Parquet shard atomically; equal rows give equal bytes. Without `schema` types come from the rows.

    With `checked` it holds a hash of its values, which `read_checked_shard` compares.
    """
    names = schema.names if schema is not None else list(rows[0]) if rows else []
    _write_columns(path, {name: [row.get(name) for row in rows] for name in names}, schema, checked=checked)


def _write_columns(
    path: Path, columns: dict[str, list[Any]], schema: pa.Schema | None, *, checked: bool = False
) -> None:
    """Write a shard; every column's values are let go as soon as they are in the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name in list(columns):
        arrays[name] = pa.array(columns.pop(name), None if schema is None else schema.field(name).type)
    table = pa.Table.from_pydict(arrays, schema=schema)
    if checked:
        table = table.replace_schema_metadata({_HASH: _hash_of_values(table)})
    with replacing(path) as tmp:
        pq.write_table(table, tmp, compression="zstd")


def _hash_of_values(table: pa.Table) -> str:
    """SHA-256 of a table's names and values, hex."""
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(json.dumps([name, table[name].to_pylist()]).encode())
    return digest.hexdigest()


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


def shard_files(folder: Path) -> list[Path]:
    """The shards of a folder in order; a stray file is none."""
    return sorted(path for path in folder.glob("part-*.parquet") if _SHARD.fullmatch(path.name))


def read_shards(folder: Path, columns: Sequence[str] | None = None, start: int = 0) -> Iterator[Row]:
    """Stream the rows of a shard folder in order from number `start` on, only `columns` if given."""
    if not folder.is_dir():
        raise DataError("folder of records does not exist", where=folder, next_step=WRITTEN_BY)
    for path in shard_files(folder):
        if start and (rows := count_shard(path)) <= start:
            start -= rows
            continue
        yield from islice(read_shard(path, columns), start, None)
        start = 0


def read_shard(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Stream the rows of one shard, only `columns` if given."""
    import pyarrow.parquet as pq

    with readable(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024, columns=None if columns is None else list(columns)):
            yield from batch.to_pylist()


def read_checked_shard(path: Path) -> list[Row]:
    """The rows of a shard that was written with `checked`.

    Raises:
        DataError: it is not as it was written.
    """
    import pyarrow.parquet as pq

    with readable(path):
        table = pq.read_table(path, partitioning=None)
        if (table.schema.metadata or {}).get(_HASH) != _hash_of_values(table).encode():
            raise DataError("shard is not as it was written", where=path, next_step=MADE_AGAIN)
        return table.to_pylist()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever a damaged Parquet file makes a reader raise into a `DataError` that names it."""
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise DataError("shard cannot be read", value=str(error), where=path, next_step=MADE_AGAIN) from error


def count_shards(folder: Path) -> int:
    """Number of rows in a shard folder, from the footers alone."""
    return sum(map(count_shard, shard_files(folder)))


def count_shard(path: Path) -> int:
    """Number of rows in a shard, from its footer alone."""
    import pyarrow.parquet as pq

    with readable(path):
        return int(pq.read_metadata(path).num_rows)


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


@contextmanager
def locked(path: Path, *, where: object = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; a second process gets a `BusyError` at once. A killed holder frees it.

    The file says who holds it, and goes away with the lock; that of a killed holder stays, and is taken by the next.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "ab+", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read(1000).decode(errors="replace").strip() or None
                raise BusyError(
                    "another process is writing this output", value=holder,
                    where=where or path, next_step="wait for it or end it",
                ) from None  # fmt: skip
            if not _is_file_of(path, file):
                continue  # the holder before has removed it meanwhile
            with suppress(OSError):  # on a full disk it is held without a name
                file.truncate(0)
                file.write(f"{_this_process()}\n".encode(errors="replace"))
            try:
                yield
            finally:
                if _is_file_of(path, file):
                    path.unlink()
            return


def _this_process() -> str:
    """Number, machine, command and time of this process, as a message names it."""
    program = Path(sys.argv[0])
    words = [program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()}, `{' '.join(words)[:300]}`, since {since}"


def _is_file_of(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is the one that lies at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
