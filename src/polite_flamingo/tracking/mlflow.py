"""MLflow: one parent run per pipeline run, one child run per stage. The only importer of `mlflow`.

Recording must never stop a stage: a failure is logged as a warning and recording goes on with the next call.

DVC hashes a stage's outputs after the stage has ended, so their md5 sums reach the run later: when the next stage
starts, or with ``polite-flamingo track-outputs`` at the end of a pipeline. Runs that wait for them are listed in
``.work/tracking/pending.jsonl``.
"""

from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from polite_flamingo.environment import PIPELINE_VARIABLE
from polite_flamingo.io import read_jsonl, write_jsonl

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger(__name__)

EXPERIMENT = "polite-flamingo"
DEFAULT_URI = "sqlite:///mlflow.db"
PENDING = Path(".work/tracking/pending.jsonl")
LOCK_FILE = Path("dvc.lock")
METRICS_PER_BATCH = 500  # MLflow takes 1000 at once
SECONDS_PER_BATCH = 15.0  # what is older is sent with the next figures, so that the UI keeps up with long stages
PARAMS_PER_BATCH = 100  # MLflow's limit


class MlflowTracker:
    """Records into one MLflow run; figures are sent in batches.

    Args:
        client: MLflow client.
        run_id: The run to record into.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self._buffer: list[Any] = []
        self._sent = time.monotonic()

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings; nested mappings become dotted names."""
        from mlflow.entities import Param

        entries = [Param(_name(key), str(value)[:6000]) for key, value in flatten(values).items()]
        for start in range(0, len(entries), PARAMS_PER_BATCH):
            chunk = entries[start : start + PARAMS_PER_BATCH]
            _guarded("parameters", partial(self._client.log_batch, self.run_id, params=chunk))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers, at a step of training or as results; nested mappings become dotted names."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for key, value in flatten(values).items():
            if isinstance(value, bool | int | float) and math.isfinite(value):
                self._buffer.append(Metric(_name(key), float(value), now, step or 0))
        if len(self._buffer) >= METRICS_PER_BATCH or time.monotonic() - self._sent >= SECONDS_PER_BATCH:
            self.flush()

    def artifact(self, path: Path) -> None:
        """Attach a file."""
        _guarded(f"artifact {path}", lambda: self._client.log_artifact(self.run_id, str(path)))

    def flush(self) -> None:
        """Send the buffered figures."""
        buffered, self._buffer = self._buffer, []
        self._sent = time.monotonic()
        for start in range(0, len(buffered), METRICS_PER_BATCH):
            chunk = buffered[start : start + METRICS_PER_BATCH]
            _guarded("metrics", partial(self._client.log_batch, self.run_id, metrics=chunk))


@contextmanager
def stage_run(stage: str, profile: str, settings: Mapping[str, object]) -> Iterator[Any]:
    """Record one stage as a child of its pipeline's run.

    The child ends FINISHED or FAILED as the stage did, the parent with it; the stage's own exception passes through.
    """
    from polite_flamingo.tracking.base import NullTracker

    opened = _guarded("start of the run", lambda: _open(stage, profile, settings))
    if opened is None:
        yield NullTracker()
        return
    client, parent, tracker = opened
    started = time.monotonic()
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    finally:
        tracker.metrics({"seconds": time.monotonic() - started})
        tracker.flush()
        _guarded("end of the run", lambda: client.set_terminated(tracker.run_id, status))
        _guarded("end of the pipeline's run", lambda: client.set_terminated(parent, status))
        if status == "FINISHED":
            _guarded("list of runs", lambda: _remember(stage, profile, tracker.run_id))


def track_outputs() -> int:
    """Tag every finished stage run that still lacks it with the md5 of its outputs, from dvc.lock.

    Returns:
        Number of runs tagged. Does not even import MLflow when no run is waiting.
    """
    if not PENDING.exists():
        return 0
    return _guarded("md5 of the outputs", lambda: _tag_outputs(_client())) or 0


def runs_page() -> str:
    """Path of the page that lists our runs in the MLflow UI (which opens on a page about language models)."""
    experiment = _guarded("experiment", lambda: _client().get_experiment_by_name(EXPERIMENT))
    return "/#/experiments" if experiment is None else f"/#/experiments/{experiment.experiment_id}/runs"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def pipeline_key() -> str:
    """Name of the pipeline run this process belongs to: the environment's, or the running DVC's, or its own."""
    named = os.environ.get(PIPELINE_VARIABLE)
    if named:
        return named
    import psutil

    process = psutil.Process()
    for ancestor in process.parents():
        try:
            words = ancestor.cmdline()
        except psutil.Error:
            continue
        if any(Path(word).name == "dvc" for word in words) and {"repro", "exp"} & set(words):
            return f"dvc-{ancestor.pid}-{int(ancestor.create_time())}"
    return f"stage-{process.pid}-{int(process.create_time())}"


def _open(stage: str, profile: str, settings: Mapping[str, object]) -> tuple[MlflowClient, str, MlflowTracker]:
    client = _client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        experiment_id = experiment.experiment_id
    else:
        experiment_id = client.create_experiment(EXPERIMENT, artifact_location=Path("mlruns").resolve().as_uri())
    if PENDING.exists():
        _guarded("md5 of the outputs", lambda: _tag_outputs(client))
    tags = {**git_tags(), "profile": profile}
    key = pipeline_key()
    runs = client.search_runs([experiment_id], f"tags.pipeline = '{key}' and tags.kind = 'pipeline'", max_results=1)
    if runs:
        parent = runs[0].info.run_id
        client.update_run(parent, status="RUNNING")
    else:
        name = f"{profile} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        run = client.create_run(experiment_id, run_name=name, tags={**tags, "pipeline": key, "kind": "pipeline"})
        parent = run.info.run_id
    child = client.create_run(
        experiment_id, run_name=stage, tags={**tags, "stage": stage, "kind": "stage", "mlflow.parentRunId": parent}
    )
    tracker = MlflowTracker(client, child.info.run_id)
    tracker.params(settings)
    return client, parent, tracker


def _client() -> MlflowClient:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI))


def git_tags() -> dict[str, str]:
    """Commit of the working tree and whether tracked files differ from it (dvc.lock, which runs rewrite, aside)."""

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=30, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)dvc.lock")
    return {
        "mlflow.source.git.commit": commit or "unknown",
        "git.commit": commit or "unknown",
        "git.dirty": "unknown" if changed is None else str(bool(changed)).lower(),
    }


def _remember(stage: str, profile: str, run_id: str) -> None:
    waiting = [row for row in _pending() if (row["stage"], row["profile"]) != (stage, profile)]
    write_jsonl(PENDING, [*waiting, {"stage": stage, "profile": profile, "run_id": run_id, "ended": time.time()}])


def _pending() -> list[dict[str, Any]]:
    return list(read_jsonl(PENDING)) if PENDING.exists() else []


def _tag_outputs(client: MlflowClient) -> int:
    from mlflow.entities import RunTag

    stages: Mapping[str, Any] = {}
    if LOCK_FILE.exists():
        stages = (yaml.safe_load(LOCK_FILE.read_text(encoding="utf-8")) or {}).get("stages", {})
    written = LOCK_FILE.stat().st_mtime if LOCK_FILE.exists() else 0.0
    waiting = []
    tagged = 0
    for row in _pending():
        outputs = output_hashes(stages, row["stage"], row["profile"])
        if not outputs or written < row["ended"]:  # DVC has not recorded this run yet
            waiting.append(row)
            continue
        tags = [RunTag(_name(f"md5.{path}"), md5) for path, md5 in outputs.items()]
        client.log_batch(row["run_id"], tags=tags)
        tagged += 1
    if waiting:
        write_jsonl(PENDING, waiting)
    else:
        PENDING.unlink()
    return tagged


def output_hashes(stages: Mapping[str, Any], stage: str, profile: str) -> dict[str, str]:
    """Paths and md5 sums of a stage's outputs as dvc.lock records them."""
    entry = stages.get(f"{stage}@{profile}") or stages.get(stage) or {}
    outs: Sequence[Mapping[str, Any]] = entry.get("outs", [])
    return {out["path"]: out["md5"] for out in outs if "md5" in out}


def _name(key: str) -> str:
    return re.sub(r"[^\w\-./ ]", "_", key)


def _guarded(what: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:  # recording must never stop a stage
        LOG.warning("MLflow: %s was not recorded (%s: %s)", what, type(error).__name__, error)
        return None
