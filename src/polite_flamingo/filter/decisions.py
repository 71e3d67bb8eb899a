"""The decision table: of every record what each filter measured, compared with and said, as Parquet.

One row per record, one struct column ``{score, threshold, passed}`` per filter, also of those after the first
rejection; ``score`` is null where the filter does not apply, ``threshold`` is JSON (null: the filter is off).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import Decision
from polite_flamingo.filter.sets import ALL
from polite_flamingo.records import Rewrite

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "decisions"  # below the filtered records


def schema() -> pa.Schema:
    """Columns of the table and their types."""
    import pyarrow as pa

    text, flag = pa.string(), pa.bool_()
    result = pa.struct([("score", pa.float64()), ("threshold", text), ("passed", flag)])
    return pa.schema(
        [
            ("id", text), ("source", text), ("task", text), ("kept", flag), ("failed", text), ("reason", text),
            ("cut", pa.int32()), *((name, result) for name in ALL),
        ]
    )  # fmt: skip


def decision_row(rewrite: Rewrite, decision: Decision) -> dict[str, Any]:
    """Row of a record whose decision is complete; ``failed`` names the first filter that rejects."""
    return {
        "id": rewrite.id,
        "source": rewrite.source,
        "task": str(rewrite.task),
        "kept": decision.kept,
        "failed": decision.failed,
        "reason": decision.reason,
        "cut": len(decision.cut),
        **{
            name: {"score": result.score, "threshold": json.dumps(result.threshold), "passed": result.passed}
            for name, result in decision.verdicts.items()
        },
    }


def fates(folder: Path) -> dict[str, Counter[str]]:
    """Records of each source by what became of them: ``kept`` or the first filter that rejects."""
    import pyarrow.dataset as ds

    found: dict[str, Counter[str]] = {}
    files = _files(folder)
    for batch in ds.dataset(files).to_batches(columns=["source", "failed"]) if files else ():
        for source, failed in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            found.setdefault(source, Counter())[failed or "kept"] += 1
    return dict(sorted(found.items()))


def telling(folder: Path, source: str, name: str, *, kept: bool, most: int) -> list[str]:
    """The records of a source that lie nearest to the threshold of a filter, on one side of it.

    Args:
        folder: The decision table.
        source: Name of the source.
        name: The filter.
        kept: True: of those that are kept; False: of those that this filter is the first to reject.
        most: How many.

    Returns:
        Lines "id: filter score, threshold"; a filter without scores gives the first records.
    """
    import heapq

    import pyarrow.dataset as ds

    fate = ds.field("kept") if kept else ds.field("failed") == name
    scanner = ds.dataset(_files(folder)).to_batches(columns=["id", name], filter=(ds.field("source") == source) & fate)
    rows = (row for batch in scanner for row in batch.to_pylist())
    nearest = heapq.nsmallest(most, rows, key=lambda row: _distance(row[name]["score"], row[name]["threshold"]))
    return [f"{row['id']}: {name} {_shown(row[name]['score'])}, threshold {row[name]['threshold']}" for row in nearest]


def _distance(score: float | None, threshold: str) -> float:
    """How far a score is from its threshold; a filter that compares with labels has its least certain scores first."""
    if score is None:
        return math.inf
    limits = json.loads(threshold)
    bounds = limits if isinstance(limits, list) else [limits]
    numbers = [bound for bound in bounds if isinstance(bound, int | float) and not isinstance(bound, bool)]
    return min((abs(score - bound) for bound in numbers), default=abs(score))


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.4g}"


def _files(folder: Path) -> list[str]:
    files = [str(path) for path in sorted(folder.glob("part-*.parquet"))]
    if not files and not folder.is_dir():
        raise DataError("no decision table", where=folder, next_step="run `polite-flamingo filter`")
    return files


def read_decision(folder: Path, record: str) -> dict[str, Any] | None:
    """The row of one record, thresholds parsed; None where it has none."""
    import pyarrow.dataset as ds

    files = _files(folder) if folder.is_dir() else []
    rows = ds.dataset(files).to_table(filter=ds.field("id") == record).to_pylist() if files else []
    if not rows:
        return None
    (row,) = rows
    for name in ALL:
        row[name]["threshold"] = json.loads(row[name]["threshold"])
    return dict(row)
