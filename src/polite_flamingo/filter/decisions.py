"""The decision table: of every record what each filter measured, compared with and said, as Parquet.

One row per record, one struct column ``{score, threshold, passed}`` per filter, also of those after the first
rejection; ``score`` is null where the filter does not apply, ``threshold`` is JSON (null: the filter is off).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def read_decision(folder: Path, record: str) -> dict[str, Any] | None:
    """The row of one record, thresholds parsed; None where it has none."""
    import pyarrow.dataset as ds

    files = [str(path) for path in sorted(folder.glob("part-*.parquet"))]
    rows = ds.dataset(files).to_table(filter=ds.field("id") == record).to_pylist() if files else []
    if not rows:
        return None
    (row,) = rows
    for name in ALL:
        row[name]["threshold"] = json.loads(row[name]["threshold"])
    return dict(row)
