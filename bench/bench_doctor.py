"""Image doctor: images per second with one process and with two, and whether every planted defect was found.

Run by ``make bench``; ``python -m bench.bench_doctor --images 2000`` for a smaller one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import Any

from bench.common import WORK, machine, publish, run_job, verdict
from bench.pictures import write_pictures

PROCESSES = (1, 2)


def main() -> int:
    """Measure, print the tables, write ``reports/bench/doctor.json``; status 1 where a finding is not as planted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    count = parser.parse_args().images
    figures: dict[str, Any] = {"machine": machine(), "runs": []}
    root = WORK / "images"
    try:
        planted = write_pictures(root, count, os.cpu_count() or 1)
        print(f"{'doctor':<16}{'images':>9}{'seconds':>9}{'images/s':>10}{'peak MB':>9}", flush=True)
        for processes in PROCESSES:
            result = run_job("doctor", root, WORK / f"out-{processes}", processes)
            figures["runs"].append({"processes": processes, **result})
            print(
                f"{processes} process{'es' if processes > 1 else '':<7}{result['images']:>9}{result['seconds']:>9.1f}"
                f"{result['images'] / result['seconds']:>10.0f}{result['peak_mb']:>9.0f}",
                flush=True,
            )
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    counts = figures["runs"][0]["counts"]
    same = all(run["counts"] == counts for run in figures["runs"])
    print(f"\n{'finding':<18}{'planted':>9}{'found':>9}")
    for kind in sorted(planted.keys() | counts.keys()):
        print(f"{kind:<18}{planted.get(kind, 0):>9}{counts.get(kind, 0):>9}")
    met = same and counts == planted
    figures |= {"planted": planted, "all_found": counts == planted, "same_with_any_number_of_processes": same}
    print(f"\nevery planted defect found, nothing else, whatever the processes: {verdict(met)}")
    print(f"{publish('doctor', figures)}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
