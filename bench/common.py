"""What the benchmarks share: running a job, saying on what machine, writing figures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from polite_flamingo.io.text import write_json

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".work" / "bench"
REPORTS = ROOT / "reports" / "bench"


def run_job(*arguments: object) -> dict[str, Any]:
    """Run a job of `bench.job` in a fresh process and return what it printed."""
    command = [sys.executable, "-m", "bench.job", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def machine(names: Sequence[str] = ("pyarrow", "ijson", "pillow", "numpy", "datasets")) -> dict[str, Any]:
    """What the figures depend on, `names` being packages that matter."""
    return {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def publish(name: str, figures: dict[str, Any]) -> Path:
    """Write figures to ``reports/bench/NAME.json``."""
    path = REPORTS / f"{name}.json"
    write_json(path, figures)
    return path


def verdict(met: bool) -> str:
    """How the table says whether a bound holds."""
    return "met" if met else "NOT MET"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
