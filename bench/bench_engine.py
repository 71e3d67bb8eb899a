"""What the rewriting engine itself costs: records with a stub for a model, 10,000 and 100,000 of them.

Every size runs in a process of its own, so that its peak memory is its own. Prints a table and writes
``reports/bench/engine.json``. ``--records 1000 10000`` chooses other sizes, ``--journals`` compares the journal with
sqlite3 instead (`bench_journal`).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.bench_journal import CALLS, KILLS, ROWS, compare_journals
from bench.common import WORK, publish
from polite_flamingo.io.text import write_json
from polite_flamingo.jobs.engine import Job, run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion
from polite_flamingo.rewrite.repair import REWRITES, RepairingBackend, RepairPolicy

OUT = Path("reports/bench/engine.json")
CALL = 128
IMAGES = 200
QUESTIONS_PER_IMAGE = 5
FLAT = 1.1  # peak memory of the largest run over that of the smallest


class Stub:
    """Answers at once; every fiftieth answer is unchanged and needs a repair."""

    identity = "stub"
    batch_size = CALL // 4

    def answer(self, questions: Sequence[RewriteQuestion]) -> list[Generated]:
        """Answer."""
        return [
            Generated(
                q.draft if q.attempt == 0 and hash_of(q.key) % 50 == 0 else f"The answer is {q.draft}, {q.key}.",
                "stop",
                9,
            )
            for q in questions
        ]

    def close(self) -> None:
        """Nothing to free."""


def hash_of(key: str) -> int:
    """The number at the end of a key."""
    return int(key.rpartition("/")[2])


def questions(count: int) -> Iterator[RewriteQuestion]:
    """Questions with images, several questions per image."""
    for index in range(count):
        image = f"{index // QUESTIONS_PER_IMAGE % IMAGES}.jpg"
        words = " ".join(["What", "is", "in", "the", "picture"] * (index % 7 + 1))
        yield RewriteQuestion(f"bench/train/{index}", f"{words}?", "rubber", (image,))


def measure(count: int, root: Path) -> dict[str, float]:
    """One run of `count` records and one that finds all of them done."""
    figures = {"records": float(count)}
    job = Job(REWRITES, root / "journal", root / "images", count)
    for name in ("run", "found_done"):
        started, cpu = time.perf_counter(), time.process_time()
        run(job, questions(count), LocalExecutor(RepairingBackend(Stub(), RepairPolicy(attempts=2)), CALL))
        figures[f"{name}_seconds"] = round(time.perf_counter() - started, 2)
        figures[f"{name}_ms_per_record"] = round(1000 * (time.perf_counter() - started) / count, 4)
        figures[f"{name}_cpu_ms_per_record"] = round(1000 * (time.process_time() - cpu) / count, 4)
    figures["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    ids = [outcome.id for outcome in job.outcomes()]
    assert ids == [question.key for question in questions(count)], "every record once, in order"
    figures["journal_mib"] = round(sum(p.stat().st_size for p in (root / "journal").iterdir()) / 2**20, 1)
    return figures


def images(folder: Path) -> None:
    """Small pictures to hash and decode."""
    from PIL import Image

    folder.mkdir(parents=True)
    for index in range(IMAGES):
        Image.new("RGB", (224, 224), (index % 256, 90, 30)).save(folder / f"{index}.jpg")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--journals", action="store_true", help="compare the journal with sqlite3 instead")
    arguments = parser.parse_args()
    if arguments.journals:
        publish("journals", {"kinds": compare_journals(), "rows_per_call": ROWS, "calls": CALLS, "kills": KILLS})
        return
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.folder)))
        return
    WORK.mkdir(parents=True, exist_ok=True)
    rows = []
    for count in arguments.records:
        with tempfile.TemporaryDirectory(prefix="engine-", dir=WORK) as folder:
            images(Path(folder) / "images")
            command = [sys.executable, "-m", "bench.bench_engine", "--one", str(count), "--folder", folder]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    head = (
        "records",
        "run_seconds",
        "run_ms_per_record",
        "run_cpu_ms_per_record",
        "found_done_ms_per_record",
        "peak_mib",
    )
    print("  ".join(f"{name:>24}" for name in head))
    for row in rows:
        print("  ".join(f"{row[name]:>24,}" for name in head))
    growth = rows[-1]["peak_mib"] / rows[0]["peak_mib"]
    verdict = "flat" if growth <= FLAT else "NOT flat"
    print(f"peak memory {rows[0]['records']:,.0f} -> {rows[-1]['records']:,.0f} records: x {growth:.3f} ({verdict})")
    write_json(OUT, {"rows": rows, "peak_memory_growth": round(growth, 4), "call_size": CALL})


if __name__ == "__main__":
    main()
