"""The decision table: of every record what each filter measured, compared with and said, as Parquet.

One row per record, in the order of the records, one struct column ``{score, threshold, passed}`` per filter, also of
those after the first rejection; ``score`` is null where the filter does not apply, ``threshold`` is JSON (null: the
filter is off). ``cut`` lists the paragraphs below the threshold, ``scores`` (JSON) are those of the text that is left.

The records themselves lie beside it, those kept and those rejected, without scores and verdicts: a threshold that keeps
the same records leaves the kept ones as they are, byte for byte, and with them whatever is trained on them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import Decision
from polite_flamingo.filter.paragraphs import without_cuts
from polite_flamingo.filter.sets import ALL
from polite_flamingo.io.shards import read_shards, readable, shard_files
from polite_flamingo.io.text import Row
from polite_flamingo.records import Rewrite

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "decisions"  # below the filtered records
KEPT, REJECTED = STATES = ("kept", "rejected")  # folders beside it


def schema() -> pa.Schema:
    """Columns of the table and their types."""
    import pyarrow as pa

    text, flag = pa.string(), pa.bool_()
    result = pa.struct([("score", pa.float64()), ("threshold", text), ("passed", flag)])
    cut = pa.list_(pa.struct([("logit", pa.float64()), ("text", text)]))
    return pa.schema(
        [
            ("id", text), ("source", text), ("task", text), ("kept", flag), ("failed", text), ("reason", text),
            ("cut", cut), ("scores", text), *((name, result) for name in ALL),
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
        "cut": [{"logit": logit, "text": paragraph} for logit, paragraph in decision.cut],
        "scores": json.dumps(dict(without_cuts(decision.rewrite).scores), ensure_ascii=False, sort_keys=True),
        **{
            name: {"score": result.score, "threshold": json.dumps(result.threshold), "passed": result.passed}
            for name, result in decision.verdicts.items()
        },
    }


def record_row(decision: Decision) -> Row:
    """Row of a kept or rejected record: what it says, without scores and verdicts."""
    return {name: value for name, value in decision.rewrite.to_row().items() if name != "scores"}


def read_decisions(pf1m: Path, state: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Stream one side of the decision table in order, ``cut`` as pairs (logit, text), thresholds and scores parsed.

    Args:
        pf1m: The folder of a filtering.
        state: ``kept`` or ``rejected``.
        columns: Only these, beside ``kept``; all if None.

    Raises:
        DataError: there is no decision table.
    """
    names = None if columns is None else [*dict.fromkeys(("kept", *columns))]
    for row in read_shards(pf1m / FOLDER, names):
        if row["kept"] is (state == KEPT):
            yield _parsed(row)


def read_decided(pf1m: Path, state: str, columns: Sequence[str] | None = None) -> Iterator[tuple[Rewrite, Row]]:
    """Stream the kept or the rejected records, each with its scores and its row of the decision table.

    Args:
        pf1m: The folder of a filtering.
        state: ``kept`` or ``rejected``.
        columns: Of the decision table, beside those needed here; all if None.

    Raises:
        DataError: records and decisions do not belong together.
    """
    names = None if columns is None else [*dict.fromkeys(("id", "scores", *columns))]
    for row, decision in zip_longest(read_shards(pf1m / state), read_decisions(pf1m, state, names)):
        if row is None or decision is None or row["id"] != decision["id"]:
            raise DataError(
                "records and decisions differ", value=(row and row["id"], decision and decision["id"]),
                where=pf1m / state, next_step="run `polite-flamingo filter` again",
            )  # fmt: skip
        yield replace(Rewrite.from_row(row), scores=decision["scores"]), decision


def _parsed(row: Row) -> Row:
    parsed = dict(row)
    for name in ALL:
        if parsed.get(name) is not None:
            parsed[name] = {**parsed[name], "threshold": _threshold(parsed[name]["threshold"])}
    if "cut" in parsed:
        parsed["cut"] = tuple((pair["logit"], pair["text"]) for pair in parsed["cut"])
    if "scores" in parsed:
        parsed["scores"] = json.loads(parsed["scores"])
    return parsed


@cache
def _threshold(text: str) -> Any:
    return json.loads(text)


def fate_counts(folder: Path) -> dict[str, Counter[str]]:
    """Records of each source by what became of them: ``kept`` or the first filter that rejects."""
    import pyarrow.dataset as ds

    counts: dict[str, Counter[str]] = {}
    files = _files(folder)
    with readable(folder):
        for batch in ds.dataset(files).to_batches(columns=["source", "failed"]) if files else ():
            for source, failed in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                counts.setdefault(source, Counter())[failed or "kept"] += 1
    return dict(sorted(counts.items()))


def nearest_records(folder: Path, source: str, name: str, *, kept: bool, most: int) -> list[str]:
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
    wanted = (ds.field("source") == source) & fate
    with readable(folder):
        scanner = ds.dataset(_files(folder)).to_batches(columns=["id", name], filter=wanted)
        rows = (row for batch in scanner for row in batch.to_pylist())
        nearest = heapq.nsmallest(most, rows, key=lambda row: _distance(row[name]["score"], row[name]["threshold"]))
    return [f"{row['id']}: {name} {_text(row[name]['score'])}, threshold {row[name]['threshold']}" for row in nearest]


def _distance(score: float | None, threshold: str) -> float:
    """How far a score is from its threshold; a filter that compares with labels has its least certain scores first."""
    if score is None:
        return math.inf
    limits = json.loads(threshold)
    bounds = limits if isinstance(limits, list) else [limits]
    numbers = [bound for bound in bounds if isinstance(bound, int | float) and not isinstance(bound, bool)]
    return min((abs(score - bound) for bound in numbers), default=abs(score))


def _text(score: float | None) -> str:
    return "-" if score is None else f"{score:.4g}"


def _files(folder: Path) -> list[Path]:
    files = shard_files(folder)
    if not files and not folder.is_dir():
        raise DataError(
            "nothing has been filtered yet", where=folder, next_step="run `polite-flamingo run --until filter`"
        )
    return files


def read_decision(folder: Path, record: str) -> dict[str, Any] | None:
    """The row of one record, parsed as by `read_decisions`; None where it has none."""
    import pyarrow.dataset as ds

    files = _files(folder) if folder.is_dir() else []
    with readable(folder):
        rows = ds.dataset(files).to_table(filter=ds.field("id") == record).to_pylist() if files else []
    if not rows:
        return None
    (row,) = rows
    return _parsed(row)
