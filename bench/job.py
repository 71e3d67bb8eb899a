"""One measured job in a process of its own: prints a JSON line with what it did, its seconds and its peak memory.

Only the work is timed: libraries are imported before. Peak memory is that of the whole process.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read(source: str, folder: str, out: str, split: str) -> dict[str, Any]:
    """What ``polite-flamingo read`` does."""
    from polite_flamingo.sources.reading import read_source

    return read_source(source, Path(folder), Path(out), split=split)[0]


def load_dataset(file: str, field: str, cache: str) -> dict[str, Any]:
    """The same annotation file through Hugging Face `datasets`, without a join and without checks."""
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("json", data_files=file, field=field, split="train", cache_dir=cache)
    return {"read": len(loaded)}


def doctor(root: str, out: str, workers: str) -> dict[str, Any]:
    """What ``polite-flamingo doctor`` does, from nothing."""
    from polite_flamingo.doctor.checkup import check_up

    report = check_up(Path(root), out=Path(out), workers=int(workers), evaluation=["evaluation"])
    return {key: report[key] for key in ("images", "examined", "images_per_second", "counts")}


def whatif(scored: str, with_sets: str) -> dict[str, Any]:
    """What ``polite-flamingo whatif`` does."""
    import pyarrow as pa

    from polite_flamingo.filter.chain import FilterSettings
    from polite_flamingo.filter.whatif import whatif as compare

    pa.set_cpu_count(2)
    before = FilterSettings()
    after = before.changed({"sts.min_cosine": 0.5, "paragraphs.min_clip_logit": 19.0, "numbers.max_changed": 0})
    if int(with_sets):
        after = after.changed({"near_duplicates.max_similarity": 0.8, "template.max_share": 0.3})
    report = compare(Path(scored), before, after)
    return {"kept_before": report["all"]["before"]["kept"], "kept_after": report["all"]["after"]["kept"]}


def peak_megabytes() -> float:
    """Most memory this process has had resident so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would also count what the parent had when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def main(argv: list[str]) -> None:
    """Run one of `JOBS` with its arguments."""
    logging.disable(logging.WARNING)  # a generated set has not as many rows as the official one
    name, *arguments = argv
    work, libraries = JOBS[name]
    for library in libraries:
        __import__(library)
    started, cpu = time.perf_counter(), time.process_time()
    result = work(*arguments)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(
        json.dumps(
            {
                **result,
                "seconds": round(seconds, 2),
                "cpu_seconds": round(cpu, 2),
                "peak_mb": round(peak_megabytes(), 1),
            }
        )
    )


JOBS: dict[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]] = {
    "read": (read, ("ijson", "numpy", "pyarrow.parquet", "tqdm", "polite_flamingo.sources.reading")),
    "load_dataset": (load_dataset, ("datasets",)),
    "whatif": (whatif, ("numpy", "pyarrow.parquet", "pandas", "polite_flamingo.filter.whatif")),
    "doctor": (doctor, ("numpy", "PIL.Image", "tqdm", "polite_flamingo.doctor.checkup")),
}

if __name__ == "__main__":
    main(sys.argv[1:])
