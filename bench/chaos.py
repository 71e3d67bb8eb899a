"""Everything that can go wrong with processes, disks and endpoints, on purpose, for about 20 minutes (docs/chaos.md).

Kills of the whole pipeline and of real stages, bits flipped in every kind of file, disks that refuse, an endpoint that
fails in every way, two runs at once. Prints what was held, recomputed, refused, lost and silent, per kind, and writes
``reports/bench/chaos.json``. Ends with status 1 where anything was lost, or damage went unseen.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.chaos_bits import flip_bits
from bench.chaos_runs import kill_runs, run_two, straight_run, tear_states
from bench.chaos_stages import FINISHED, OUTPUTS, WRITERS, ask_faulty, kill_stages, refuse_disk
from bench.chaos_tally import Tally
from bench.common import machine, publish

PARTS = {"bits": 1, "endpoint": 1, "kills": 5, "two": 4, "disk": 5, "stages": 6}  # and their shares of the time


def run_parts(parts: list[str], tally: Tally, scratch: Path, finished: Path | None, scale: float) -> dict[str, float]:
    """Run parts one after the other; returns their seconds."""
    straight = straight_run(scratch) if {"kills", "two"} & set(parts) else None
    seconds: dict[str, float] = {}
    end = tally.until
    for place, part in enumerate(parts):
        print(f"{part} …", flush=True)
        began = time.monotonic()
        tally.until = began + (end - began) * PARTS[part] / sum(PARTS[later] for later in parts[place:])
        (folder := scratch / part).mkdir()
        if part == "bits":
            flip_bits(tally, round(100 * scale), folder, finished)
        elif part == "endpoint":
            ask_faulty(tally, round(100 * scale), folder)
        elif part == "kills" and straight is not None:
            tear_states(tally, folder, straight)
            kill_runs(tally, round(12 * scale), folder, straight)
        elif part == "two" and straight is not None:
            run_two(tally, folder, straight)
        elif finished is None:
            tally.skipped.append(f"{part}: no finished demo; `make demo`, or --finished FOLDER")
        elif part == "disk":
            refuse_disk(tally, list(WRITERS), folder, finished)
        else:
            kill_stages(tally, list(OUTPUTS), folder, finished)
        seconds[part] = round(time.monotonic() - began, 1)
    return seconds


def main() -> None:
    """Run, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=19, help="of all draws (default: 19)")
    parser.add_argument("--minutes", type=float, default=20.0, help="no fault is begun after them (default: 20)")
    parser.add_argument("--scale", type=float, default=1.0, help="number of flips, kills and records (default: 1)")
    parser.add_argument("--finished", type=Path, default=Path(), help="project whose demo has run (default: this one)")
    options = parser.parse_args()
    there = all((options.finished / name).is_dir() for name in FINISHED)
    tally = Tally(options.seed, time.monotonic() + 60 * options.minutes)
    facts = machine(("dvc", "pyarrow", "torch"))
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        finished = options.finished.resolve() if there else None
        seconds = run_parts(options.parts, tally, Path(scratch), finished, options.scale)
    print(tally.table())
    for line in tally.skipped:
        print(f"not done: {line}")
    figures = {"counts": {kind: dict(counts) for kind, counts in tally.counts.items()}, "wrong": tally.wrong}
    publish("chaos", {**figures, "skipped": tally.skipped, "seconds": seconds, "seed": options.seed, "machine": facts})
    sys.exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main()
