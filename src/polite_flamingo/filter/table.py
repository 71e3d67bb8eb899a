"""The score table: every score column of every rewrite as Parquet columns, to decide on a million records in seconds.

A folder of ``part-000000.parquet`` …, in the order of the records; row groups of 50,000, so that memory stays flat. It
holds scores and what the filters need to know of a record; of the text only its first words and its MinHash signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import Decisions, FilterSettings, decide
from polite_flamingo.filter.columns import ScoreBatch
from polite_flamingo.io.chunks import chunked
from polite_flamingo.io.files import publishing
from polite_flamingo.io.shards import count_shard, shard_files
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.likeness import BYTES, opening, signatures

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "table"  # below the scored records
ROWS_PER_GROUP = 50_000
GROUPS_PER_PART = 10
ROWS_AT_ONCE = 1_000  # records whose text is in memory while the table is written
# probe: kind of injected corruption, "" for natural records; opening: the first words of the rewrite
TEXTS = ("id", "source", "task", "finish_reason", "probe", "opening")
CODED = frozenset(TEXTS) - {"id"}  # of few distinct values: read as dictionaries


def schema() -> pa.Schema:
    """Columns of the table and their types; a score that does not apply is null."""
    import pyarrow as pa

    kinds = {"integer": pa.int32(), "number": pa.float64(), "numbers": pa.list_(pa.float64()), "text": pa.string()}
    texts = [pa.field(name, pa.string(), nullable=False) for name in TEXTS]
    signature = pa.field("signature", pa.binary(BYTES), nullable=False)
    return pa.schema([*texts, signature, *(pa.field(name, kinds[kind]) for name, kind in COLUMNS.items())])


def write_table(rewrites: Iterable[Rewrite], folder: Path) -> int:
    """Write the scores of `rewrites` into a fresh `folder`, streaming; return their number.

    The folder appears when it is complete; equal records give equal bytes.

    Raises:
        DataError: a record was never scored, or a score is not a number.
    """
    with publishing(folder) as staging:
        return _write(rewrites, staging)


def batch_of(rewrites: Iterable[Rewrite]) -> ScoreBatch:
    """The scores of a few records as a batch in memory, as `read_batches` gives them from a table.

    Raises:
        DataError: a record was never scored, or a score is not a number.
    """
    import pyarrow as pa

    layout = schema()
    rows = list(_rows(rewrites))
    table = _group(rows, layout) if rows else layout.empty_table()
    arrays = [table.column(name).combine_chunks() for name in layout.names]
    coded = [
        array.dictionary_encode() if name in CODED else array for name, array in zip(layout.names, arrays, strict=True)
    ]
    return ScoreBatch(pa.RecordBatch.from_arrays(coded, names=layout.names))


def _write(rewrites: Iterable[Rewrite], folder: Path) -> int:
    import pyarrow.parquet as pq

    layout = schema()
    count = 0
    groups = (_group(chunk, layout) for chunk in chunked(_rows(rewrites), ROWS_PER_GROUP))
    for index, part in enumerate(_parts(groups)):
        with pq.ParquetWriter(folder / f"part-{index:06d}.parquet", layout, compression="zstd") as writer:
            for group in part:
                writer.write_table(group)
                count += group.num_rows
    return count


def _parts(groups: Iterator[pa.Table]) -> Iterator[Iterator[pa.Table]]:
    """Runs of `GROUPS_PER_PART`, one after the other."""
    for first in groups:
        yield _run(first, groups)


def _run(first: pa.Table, groups: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    for _ in range(GROUPS_PER_PART - 1):
        following = next(groups, None)
        if following is None:
            return
        yield following


def _rows(rewrites: Iterable[Rewrite]) -> Iterator[tuple[Any, ...]]:
    for chunk in chunked(rewrites, ROWS_AT_ONCE):
        for rewrite, signature in zip(chunk, signatures([rewrite.rewritten for rewrite in chunk]), strict=True):
            missing = [name for name in COLUMNS if name not in rewrite.scores]
            if missing:
                raise DataError(
                    "record has not been scored", value=missing, where=rewrite.id,
                    next_step="run `polite-flamingo run --until score`",
                )  # fmt: skip
            probe = str(rewrite.extras.get("probe") or "")
            texts = (rewrite.id, rewrite.source, str(rewrite.task), rewrite.finish_reason, probe)
            yield (*texts, opening(rewrite.rewritten), signature, *(rewrite.scores[name] for name in COLUMNS))


def _group(rows: Sequence[tuple[Any, ...]], layout: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [pa.array(values, type=field.type) for values, field in zip(zip(*rows, strict=True), layout, strict=True)]
    for name, column in zip(layout.names, columns, strict=True):
        values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
        if pa.types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py():
            parents = pc.list_parent_indices(column) if pa.types.is_list(column.type) else None
            index = pc.index(pc.is_nan(values), True).as_py()
            row = index if parents is None else parents[index].as_py()
            raise DataError("a score is not a number", value=name, where=rows[row][0])
    return pa.Table.from_arrays(columns, schema=layout)


def count_rows(folder: Path) -> int:
    """Number of records, from the footers alone."""
    return sum(map(count_shard, _files(folder)))


def read_batches(folder: Path, columns: Sequence[str] | None = None) -> Iterator[ScoreBatch]:
    """Stream the table by row group.

    Args:
        folder: What `write_table` wrote.
        columns: Names of columns; all if None.

    Raises:
        DataError: there is no table, or it lacks a column.
    """
    import pyarrow.parquet as pq

    for path in _files(folder):
        try:
            with pq.ParquetFile(path, read_dictionary=sorted(CODED)) as file:
                names = None if columns is None else list(columns)
                for group in range(file.num_row_groups):
                    for batch in file.iter_batches(ROWS_PER_GROUP, row_groups=[group], columns=names):
                        yield ScoreBatch(batch)
        except (OSError, ValueError) as error:
            raise DataError(
                "score table cannot be read",
                value=str(error),
                where=path,
                next_step="delete its folder and run `polite-flamingo run --until score`",
            ) from error


def decide_table(
    folder: Path, settings: FilterSettings, columns: Sequence[str] = ("source", "probe")
) -> Iterator[tuple[ScoreBatch, Decisions]]:
    """Decide on the whole table, one row group in memory at a time.

    Args:
        folder: What `write_table` wrote.
        settings: What to decide with.
        columns: Columns beside those the filters read.
    """
    for batch in read_batches(folder, [*dict.fromkeys((*columns, *filter_columns()))]):
        yield batch, decide(batch, settings)


def filter_columns() -> tuple[str, ...]:
    """The columns that filters read."""
    return ("task", "finish_reason", *(name for name in COLUMNS if not name.startswith("reward")))


def _files(folder: Path) -> list[Path]:
    files = shard_files(folder)
    if not files and not folder.is_dir():
        raise DataError(
            "nothing has been scored yet", where=folder, next_step="run `polite-flamingo run --until score`"
        )
    return files
