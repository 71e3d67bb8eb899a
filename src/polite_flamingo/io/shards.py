"""Folders of Parquet shards: streaming read, atomic write.

A folder of shards holds ``part-000000.parquet``, ``part-000001.parquet`` …; their order is the order of the records.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import replacing
from polite_flamingo.io.text import WRITTEN_BY, Row

if TYPE_CHECKING:
    import pyarrow as pa

MADE_AGAIN = "delete it; `polite-flamingo run` makes it again"
_SHARD = re.compile(r"part-\d{6,}\.parquet")
_HASH = b"polite_flamingo.sha256"  # of a checked shard's values, in its footer


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
