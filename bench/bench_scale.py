"""Curation with stubs for models at growing sizes: costs of a record, memory, and how soon a killed run goes on.

The pipeline's own stages run one after the other, each in a process of its own, here or with ``--nodes 2`` through a
Ray cluster of two nodes on this machine. ``--kill`` stops the largest rewriting with SIGKILL at nine tenths and starts
it again. ``--table`` measures near duplicates and templates alone, on tables of scores that are made for it.

Prints a table and writes ``reports/bench/scale.json``; what an earlier run measured at other sizes stays in it.
``--figure`` draws it. A run that was stopped goes on: stages whose figures are there are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import bench_decide
from bench.common import REPORTS, ROOT, WORK, machine, publish, verdict
from polite_flamingo.io.text import read_json

STAGES = ("generate", "rewrite", "check_rewritten", "score", "filter", "check_pf1m")
KILLED = "rewrite after a kill"
SHARD = 2048
FLAT = 1.1  # processor time per record of the largest size over that of the one before


def command(stage: str, records: int, nodes: int) -> list[str]:
    """A stage in a process of its own."""
    return [sys.executable, "-m", "bench.scale_job", stage, str(records), str(nodes)]


def environment() -> dict[str, str]:
    """Paths for a process in another folder."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}


def run(stage: str, records: int, nodes: int, folder: Path) -> dict[str, Any]:
    """Run a stage and return its figures."""
    started = time.time()
    done = subprocess.run(
        command(stage, records, nodes), cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    first = figures.pop("first_record_at")
    figures["first_record_seconds"] = None if first is None else round(first - started, 2)
    figures["cpu_ms_per_record"] = round(1000 * figures["cpu_seconds"] / records, 4)
    return figures


def killed(records: int, folder: Path) -> dict[str, Any]:
    """Rewriting, killed at nine tenths and started again."""
    journal = folder / ".work" / "rewrite-scale" / "journal"
    process = subprocess.Popen(command("rewrite", records, 0), cwd=folder, env=environment(), stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(journal.glob("part-*.parquet"))) < 0.9 * records / SHARD:
        time.sleep(0.2)
    process.kill()
    process.wait()
    sealed = len(list(journal.glob("part-*.parquet")))
    figures = run("rewrite", records, 0, folder)
    return {"records": records, "sealed_records": SHARD * sealed, **figures, "stage": KILLED}


def table_alone(records: int, folder: Path) -> dict[str, Any]:
    """Near duplicates and templates, of a made table."""
    written = bench_decide.write(records)
    target = folder / "data" / "scale"
    target.mkdir(parents=True)
    written.rename(target / "scored")
    return run("sets", records, 0, folder)


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    head = ("records", "stage", "nodes", "cpu_seconds", "cpu_ms_per_record", "peak_mb", "first_record_seconds")
    print("  ".join(f"{name:>20}" for name in head))
    for row in sorted(rows, key=lambda row: (row["nodes"], row["stage"], row["records"])):
        print("  ".join(f"{'-' if row[name] is None else row[name]:>20}" for name in head))


def growth(rows: list[dict[str, Any]]) -> list[str]:
    """By stage: what a record more costs, and memory, of the two largest sizes."""
    lines = []
    for key in sorted({(row["stage"], row["nodes"]) for row in rows}):
        sizes = sorted((row for row in rows if (row["stage"], row["nodes"]) == key), key=lambda row: row["records"])
        for smaller, larger in pairwise(sizes):
            cost = larger["cpu_ms_per_record"] / smaller["cpu_ms_per_record"]
            memory = larger["peak_mb"] / smaller["peak_mb"]
            lines.append(
                f"{key[0]}, {key[1]} nodes, {smaller['records']:,} -> {larger['records']:,}: time per record x "
                f"{cost:.2f} ({verdict(cost <= FLAT)}), peak memory x {memory:.2f}"
            )
    return lines


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Processor time per record and peak memory against records."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    keys = sorted({(row["stage"], row["nodes"]) for row in rows if row["stage"] != "generate"})
    for axis, name, label in (
        (left, "cpu_ms_per_record", "driver's processor time per record, ms"),
        (right, "peak_mb", "peak memory, MB"),
    ):
        for number, (stage, nodes) in enumerate(keys):
            points = sorted(
                (row["records"], row[name]) for row in rows if (row["stage"], row["nodes"]) == (stage, nodes)
            )
            text = stage.replace("_", " ") + (f", {nodes} Ray nodes" if nodes else "")
            axis.plot(*zip(*points, strict=True), marker="o", label=text, color=f"C{number % 10}")
        axis.set(xscale="log", xlabel="records", ylabel=label)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--nodes", type=int, default=0, help="of a Ray cluster on this machine; 0: this process")
    parser.add_argument("--table", type=int, nargs="*", default=[], help="sizes of tables for near duplicates alone")
    parser.add_argument("--kill", action="store_true", help="also kill and resume the largest rewriting")
    parser.add_argument("--folder", type=Path, default=WORK / "scale", help="some 3 kB of disk per record")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    known = REPORTS / "scale.json"
    report: dict[str, Any] = read_json(known) if known.is_file() else {"rows": []}
    report["machine"] = machine()

    def measured(stage: str, records: int, nodes: int) -> bool:
        return any((row["stage"], row["records"], row["nodes"]) == (stage, records, nodes) for row in report["rows"])

    def keep(row: dict[str, Any]) -> None:
        report["rows"].append(row)
        publish("scale", report)
        print(json.dumps(row), flush=True)

    for records in options.records:
        folder = options.folder / f"{records}-{options.nodes}"
        folder.mkdir(parents=True, exist_ok=True)
        for stage in options.stages:
            if not measured(stage, records, options.nodes) or not (folder / f"{stage}.done").is_file():
                report["rows"] = [
                    row
                    for row in report["rows"]
                    if (row["stage"], row["records"], row["nodes"]) != (stage, records, options.nodes)
                ]
                keep(run(stage, records, options.nodes, folder))
                (folder / f"{stage}.done").touch()
        if options.kill and records == max(options.records) and not measured(KILLED, records, 0):
            keep(killed(records, folder))
        shutil.rmtree(folder)
    for records in options.table:
        folder = options.folder / f"table-{records}"
        shutil.rmtree(folder, ignore_errors=True)
        keep(table_alone(records, folder))
        shutil.rmtree(folder)
    show(report["rows"])
    report["growth"] = growth(report["rows"])
    print("\n".join(report["growth"]))
    if options.figure:
        draw(report["rows"], options.figure)
    print(publish("scale", report))


if __name__ == "__main__":
    main()
