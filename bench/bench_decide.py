"""Deciding again on scored records under other thresholds: 100,000 and 1,000,000 of them.

The score tables are synthetic and seeded: captions of one to four paragraphs, questions, other tasks, six sources.
Each figure is a process of its own that decides twice, before and after, as ``polite-flamingo whatif`` does;
``with_sets`` also looks for near-duplicates and templates. Prints a table and writes ``reports/bench/decide.json``.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.common import WORK, machine, publish, run_job, verdict
from polite_flamingo.filter.table import FOLDER, GROUPS_PER_PART, ROWS_PER_GROUP, schema
from polite_flamingo.scorers.columns import COLUMNS
from polite_flamingo.scorers.likeness import BYTES

SIZES = (100_000, 1_000_000)
MAX_SECONDS = 20.0  # for a million records
MAX_MEGABYTES = 500.0
MAX_GROWTH = 1.3  # seconds per record of the largest over those of the smallest
SEED = 42
SOURCES = ("coco", "flickr30k", "vqav2", "gqa", "spot_the_diff", "llava")
TASKS = np.array(["caption", "caption", "vqa", "vqa", "change", "reasoning"])
RANGES = {"words": 90, "boxes": 1.05, "unsupported_objects": 1.2, "numbers_changed": 1.2, "yes_no_flipped": 1.1}

LOWEST = {"sts": 0.3, "sts_by_cut": 0.3, "repeated_share": -0.6, "repeated_share_by_cut": -0.6}


def groups(count: int) -> Iterator[pa.Table]:
    """Row groups of a score table."""
    random = np.random.default_rng(SEED)
    for start in range(0, count, ROWS_PER_GROUP):
        yield group(random, start, min(ROWS_PER_GROUP, count - start))


def group(random: np.random.Generator, start: int, rows: int) -> pa.Table:
    """Some rows whose columns depend on each other as real ones do."""
    source = random.integers(0, len(SOURCES), rows)
    caption = np.isin(TASKS[source], ("caption", "change"))
    paragraphs = np.where(caption, random.integers(1, 5, rows), 0)
    several = np.where(paragraphs > 1, paragraphs, 0)
    columns: dict[str, Any] = {
        "id": pa.array([f"{SOURCES[code]}/train/{start + i:012d}" for i, code in enumerate(source)]),
        "source": pa.array(np.array(SOURCES)[source]),
        "task": pa.array(TASKS[source]),
        "finish_reason": pa.array(np.where(random.random(rows) < 0.01, "length", "stop")),
        "probe": pa.array(np.full(rows, "")),
        "opening": pa.array(np.array([f"the image {i}" for i in range(200)])[random.zipf(1.5, rows) % 200]),
        "signature": pa.array(signatures(random, rows), type=pa.binary(BYTES)),
    }
    for name, kind in COLUMNS.items():
        lengths = several if name.endswith("_by_cut") else paragraphs
        if name == "nli":
            lengths = np.where(TASKS[source] == "vqa", 3, 0)
        if kind == "numbers":
            columns[name] = lists(random, name, lengths)
        elif kind == "integer":
            columns[name] = pa.array((random.random(rows) * RANGES.get(name, 1.1)).astype(np.int32))
        else:
            columns[name] = pa.array(np.round(LOWEST.get(name, 0.0) + random.random(rows), 4))
    layout = schema()
    return pa.Table.from_arrays([columns[name].cast(layout.field(name).type) for name in layout.names], schema=layout)


def lists(random: np.random.Generator, name: str, lengths: np.ndarray) -> pa.Array:
    """A column of lists; an empty one is null."""
    values = np.round(
        random.normal(20.0, 4.0, lengths.sum()) if name == "clip_logits" else random.random(lengths.sum()), 4
    )
    offsets = pa.array(np.r_[0, np.cumsum(lengths)].astype(np.int32), mask=np.r_[lengths == 0, False])
    return pa.ListArray.from_arrays(offsets, pa.array(np.round(values, 4)))


def signatures(random: np.random.Generator, rows: int) -> list[bytes]:
    """MinHash signatures, a tenth of them copies of another."""
    data = random.integers(0, 2**16, (rows, BYTES // 2), dtype=np.uint16)
    copies = random.integers(0, rows, rows // 10)
    data[copies] = data[random.integers(0, rows, len(copies))]
    return [row.tobytes() for row in data]


def write(count: int) -> Path:
    """A folder of scored records that holds only their table."""
    folder = WORK / "decide" / str(count)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / FOLDER).mkdir(parents=True)
    writer: pq.ParquetWriter | None = None
    for index, table in enumerate(groups(count)):
        if index % GROUPS_PER_PART == 0:
            if writer is not None:
                writer.close()
            path = folder / FOLDER / f"part-{index // GROUPS_PER_PART:06d}.parquet"
            writer = pq.ParquetWriter(path, schema(), compression="zstd")
        assert writer is not None
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return folder


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=list(SIZES))
    figures: dict[str, Any] = {"machine": machine(), "rows": []}
    print(f"{'records':>10}  {'what':<10} {'seconds':>8} {'cpu s':>7} {'peak MB':>8} {'kept before -> after':>24}")
    for count in parser.parse_args().records:
        folder = write(count)
        for name in ("whatif", "with_sets"):
            row = {"records": count, "what": name, **run_job("whatif", folder, int(name == "with_sets"))}
            figures["rows"].append(row)
            kept = f"{row['kept_before']:,} -> {row['kept_after']:,}"
            print(
                f"{count:>10,}  {name:<10} {row['seconds']:>8} {row['cpu_seconds']:>7} {row['peak_mb']:>8} {kept:>24}"
            )
        shutil.rmtree(folder)
    print("\n".join(judge(figures)))
    print(publish("decide", figures))


def judge(figures: dict[str, Any]) -> list[str]:
    """The bounds, for the plain decision of the largest table, and whether time grows linearly."""
    rows = [row for row in figures["rows"] if row["what"] == "whatif"]
    smallest, largest = rows[0], rows[-1]
    growth = (largest["cpu_seconds"] / largest["records"]) / (smallest["cpu_seconds"] / smallest["records"])
    figures["cpu_seconds_per_record_growth"] = round(growth, 3)
    bounds = [
        (f"seconds at most {MAX_SECONDS}", largest["seconds"] <= MAX_SECONDS),
        (f"peak MB at most {MAX_MEGABYTES}", largest["peak_mb"] <= MAX_MEGABYTES),
        (f"time per record grows at most x {MAX_GROWTH}: x {growth:.3f}", growth <= MAX_GROWTH),
    ]
    figures["met"] = all(met for _, met in bounds)
    return [f"{largest['records']:,} records, {name}: {verdict(met)}" for name, met in bounds]


if __name__ == "__main__":
    main()
