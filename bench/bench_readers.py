"""Readers: questions of VQAv2's form to shards, rows per second, peak memory, growth; `datasets` on the same file.

Run by ``make bench``; ``python -m bench.bench_readers --rows 100000`` for a smaller one.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import psutil

from bench.common import WORK, machine, publish, run_job, verdict
from bench.vqa_files import write_vqa

PEAK_MB = 500  # the reader's memory must stay below it, however many rows
GROWTH = 11.0  # ten times the rows may take at most this many times the time
DATASETS_FACTOR = 25  # memory `datasets` takes, in sizes of the file
REPEATS = 3  # of the small run, which is over soon; the median counts


def main() -> int:
    """Measure, print the table, write ``reports/bench/readers.json``; status 1 where a bound is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large run; the small one has a tenth")
    rows = parser.parse_args().rows
    figures: dict[str, Any] = {"machine": machine(), "runs": []}
    print(f"{'run':<44}{'rows':>9}{'seconds':>9}{'cpu s':>9}{'rows/s':>9}{'peak MB':>9}", flush=True)
    try:
        small = [_read(rows // 10, figures) for _ in range(REPEATS)]
        large = _read(rows, figures)
        shuffled = _read(rows, figures, shuffled=True)
        _load_dataset(rows // 10, figures)
        _load_dataset(rows, figures)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    growth = large["seconds"] / statistics.median(run["seconds"] for run in small)
    cpu_growth = large["cpu_seconds"] / statistics.median(run["cpu_seconds"] for run in small)
    peak = max(large["peak_mb"], shuffled["peak_mb"])
    bounds = {"peak_mb": peak < PEAK_MB, "growth": growth <= GROWTH}
    figures |= {"growth": round(growth, 2), "cpu_growth": round(cpu_growth, 2), "peak_mb": peak, "bounds_met": bounds}
    print(f"\npeak memory {peak} MB (bound {PEAK_MB}): {verdict(bounds['peak_mb'])}")
    print(f"10x the rows take {growth:.2f}x the time (bound {GROWTH}): {verdict(bounds['growth'])}")
    print(f"  and {cpu_growth:.2f}x the processor's time, which does not depend on what else the machine does")
    print(f"{publish('readers', figures)}")
    return 0 if all(bounds.values()) else 1


def _read(rows: int, figures: dict[str, Any], *, shuffled: bool = False) -> dict[str, Any]:
    folder = _files(rows, shuffled)
    label = "polite-flamingo read" + (", annotations shuffled" if shuffled else "")
    result = run_job("read", "vqav2", folder, WORK / "out", "train")
    if (result["read"], result["rejected"]) != (rows, 0):
        raise SystemExit(f"error: {rows} rows were written, {result['read']} read, {result['rejected']} rejected")
    return _row(label, result, figures)


def _load_dataset(rows: int, figures: dict[str, Any]) -> None:
    file = _files(rows, False) / "v2_mscoco_train2014_annotations.json"
    label = 'datasets.load_dataset("json"), one file'
    needed, free = file.stat().st_size * DATASETS_FACTOR, psutil.virtual_memory().available
    if free < needed:
        print(
            f"{label:<44}{rows:>9}  not run: takes some {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free", flush=True
        )
        figures["runs"].append({"run": label, "read": None, "rows": rows, "not_run": "too little memory"})
        return
    _row(label, run_job("load_dataset", file, "annotations", WORK / "cache" / str(rows)), figures)


def _files(rows: int, shuffled: bool) -> Path:
    folder = WORK / f"{rows}{'-shuffled' if shuffled else ''}" / "vqav2"
    if not folder.is_dir():
        write_vqa(folder, rows, shuffled=shuffled)
    return folder


def _row(label: str, result: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    speed = round(result["read"] / result["seconds"])
    figures_of_run = f"{result['read']:>9}{result['seconds']:>9.1f}{result['cpu_seconds']:>9.1f}{speed:>9}"
    print(f"{label:<44}{figures_of_run}{result['peak_mb']:>9.0f}", flush=True)
    row = {"run": label, "rows_per_second": speed, **result}
    figures["runs"].append(row)
    return row


if __name__ == "__main__":
    sys.exit(main())
