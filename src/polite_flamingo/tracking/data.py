"""What is said of data that a stage reads: how much, of what, under which licences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from polite_flamingo.tracking.base import DataInput
from polite_flamingo.tracking.outputs import Hashes, digest

COUNTED = {
    "licence": "licences",
    "source": "sources",
    "task": "tasks",
    "strategy": "strategies",
}  # column -> its counts
MOST_ROWS = 5_000_000  # above, only rows are counted


def describe(name: str, folder: Path, context: str, hashes: Hashes) -> DataInput | None:
    """What is recorded of shards; None where there are none.

    Args:
        name: What people call the data.
        folder: Of the shards.
        context: ``curation``, ``training`` or ``evaluation``.
        hashes: What dvc.lock says.
    """
    import pyarrow.parquet as pq

    shards = sorted(folder.glob("*.parquet"))
    if not shards:
        return None
    schema = pq.read_schema(shards[0])
    rows = sum(pq.read_metadata(shard).num_rows for shard in shards)
    profile: dict[str, Any] = {"num_rows": rows}
    if rows <= MOST_ROWS:
        for column, title in COUNTED.items():
            if column in schema.names:
                profile[title] = shares(shards, column, rows)
    columns = {field.name: str(field.type) for field in schema}
    return DataInput(name, folder, digest(folder, hashes), context, columns, profile)


def shares(shards: Iterable[Path], column: str, rows: int) -> dict[str, float]:
    """Value -> its share of all rows, the largest first."""
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    for shard in shards:
        for value in pq.read_table(shard, columns=[column])[column].value_counts().to_pylist():
            counts[str(value["values"])] += value["counts"]
    return {value: round(count / rows, 4) for value, count in counts.most_common()}
