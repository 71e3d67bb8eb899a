"""MLflow: one run per pipeline, and below it one run per stage.

Recording must never stop a stage: a failure is logged as a warning and recording goes on with the next call.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.tracking.base import DataInput, NullTracker, StageTracker, Work, flatten, guarded
from polite_flamingo.tracking.endings import ALIVE, OWNER, PARENT, REASON, close_dead, milliseconds, settle
from polite_flamingo.tracking.git import git_tags
from polite_flamingo.tracking.outputs import EndedRun, output_hashes, taken, waiting
from polite_flamingo.tracking.owner import Owner, PipelineRun, pipeline_run
from polite_flamingo.tracking.pipeline import (
    describe_run,
    is_number,
    log_headline,
    log_params,
    name_of,
    open_pipeline,
)
from polite_flamingo.tracking.store import SQLITE, artifact_folder, experiment_id, home, open_client, tracking_uri
from polite_flamingo.tracking.watch import SAMPLE_SECONDS, Watch

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOG = logging.getLogger(__name__)

METRICS_PER_BATCH = 500  # MLflow takes 1000 at once
SECONDS_OF_PAUSE = 60.0  # after a failure: a server that does not answer must not slow a training down
MOST_KEPT = 100_000  # figures that wait for it
SECONDS_PER_BATCH = 15.0  # what is older is sent with the next figures, so that the UI keeps up with long stages


class MlflowTracker:
    """Records into the runs of a stage and of its pipeline; figures are sent in batches.

    Args:
        client: MLflow client.
        run_id: The stage's run.
        parent: The pipeline's run.
    """

    def __init__(self, client: MlflowClient, run_id: str, parent: str) -> None:
        self._client = client
        self.run_id = run_id
        self.parent = parent
        self._buffer: list[Any] = []
        self._sent = time.monotonic()
        self._reached = True

    def params(self, values: Mapping[str, object]) -> None:
        """Log settings; nested mappings become dotted names."""
        guarded("parameters", lambda: log_params(self._client, self.run_id, values))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers, at a step of training or as results; nested mappings become dotted names."""
        from mlflow.entities import Metric

        now = milliseconds()
        for key, value in flatten(values).items():
            if is_number(value):
                self._buffer.append(Metric(name_of(key), float(value), now, step or 0))
        waited = time.monotonic() - self._sent
        if waited >= (SECONDS_PER_BATCH if self._reached else SECONDS_OF_PAUSE) or (
            self._reached and len(self._buffer) >= METRICS_PER_BATCH
        ):
            self.flush()

    def artifact(self, path: Path) -> None:
        """Attach a file to the stage's run."""
        guarded(f"artifact {path}", lambda: self._client.log_artifact(self.run_id, str(path)))

    def shown(self, path: Path) -> None:
        """Attach a file to both runs."""
        self.artifact(path)
        guarded(f"artifact {path}", lambda: self._client.log_artifact(self.parent, str(path)))

    def inputs(self, own: Sequence[DataInput], upstream: Sequence[DataInput]) -> None:
        """Log the data that the stage reads, and for the pipeline's run that of all stages up to it."""
        for run_id, data in ((self.run_id, own), (self.parent, upstream)):
            if data:
                guarded("data", partial(self._client.log_inputs, run_id, [_dataset(one) for one in data]))

    def headline(self, figures: Mapping[str, Any]) -> None:
        """Log the figures by which pipelines are compared."""
        guarded("headline figures", lambda: log_headline(self._client, self.parent, figures))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Attach rows as a table to the pipeline's run, for MLflow's views that compare tables of one name."""
        columns = {column: [row.get(column) for row in rows] for column in (rows[0] if rows else ())}
        if columns:
            guarded(f"table {name}", lambda: self._client.log_table(self.parent, columns, name))

    def flush(self) -> None:
        """Send the buffered figures; those that did not arrive are kept for the next time, the newest of them."""
        guarded("metrics", self._send)
        self._reached = not self._buffer
        self._buffer = self._buffer[-MOST_KEPT:]
        self._sent = time.monotonic()

    def _send(self) -> None:
        while self._buffer:
            self._client.log_batch(self.run_id, metrics=self._buffer[:METRICS_PER_BATCH])
            del self._buffer[:METRICS_PER_BATCH]


@contextmanager
def stage_run(work: Work) -> Iterator[StageTracker]:
    """Record one stage as a child of its pipeline's run.

    The child ends FINISHED or FAILED as the stage did, the parent with it; the stage's own exception passes through.
    """
    pipeline = pipeline_run()
    opened = guarded("start of the run", lambda: _open(work, pipeline))
    if opened is None:
        yield NullTracker()
        return
    client, tracker = opened
    watch = _watch(client, tracker)
    watch.start()
    started = time.monotonic()
    status = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    finally:
        watch.stop()
        # of this process from its start, imports included, and of those it waited for
        tracker.metrics({"seconds": time.monotonic() - started, "cpu_seconds": sum(os.times()[:4])})
        tracker.flush()
        guarded("end of the run", lambda: client.set_terminated(tracker.run_id, status))
        guarded("end of the pipeline's run", lambda: settle(client, client.get_run(tracker.parent)))
        if status == "FINISHED":
            ended = EndedRun(
                work.stage, work.profile, tracker.run_id, tracker.parent, work.upstream, pipeline.by_dvc, time.time()
            )
            guarded("description", lambda: _describe(client, ended))
            guarded("list of runs", ended.wait)


def track_outputs(*, failed: bool = False) -> int:
    """Tag every finished stage run that still lacks it with the md5 of its outputs, from dvc.lock.

    Args:
        failed: The pipeline that ends here did not succeed: its run says so, and runs of killed stages are closed.

    Returns:
        Number of runs tagged. Does not even import MLflow when nothing is to be recorded.
    """
    if not failed and not any(True for _ in waiting()):
        return 0
    return guarded("end of the pipeline", lambda: _end_pipeline(failed)) or 0


def runs_page() -> str:
    """Path of the page that lists our runs in the MLflow UI; whose process was killed is closed before."""
    from polite_flamingo.tracking.view import page

    def prepare() -> str:
        client = open_client()
        experiment = experiment_id(client)
        _close_dead(client, experiment)
        return page(experiment)

    return guarded("experiment", prepare) or "/#/experiments"


def run_pages() -> dict[str, str]:
    """Paths of the pages of this pipeline's run (``pipeline``) and of its stages' runs in the MLflow UI."""
    uri = tracking_uri()
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        return {}

    def find() -> dict[str, str]:
        client = open_client()
        experiment = experiment_id(client)
        path = f"/#/experiments/{experiment}/runs"
        pages: dict[str, str] = {}
        for parent in client.search_runs([experiment], f"tags.pipeline = '{pipeline_run().key}'", max_results=1):
            pages["pipeline"] = f"{path}/{parent.info.run_id}"
            stages = client.search_runs([experiment], f"tags.`{PARENT}` = '{parent.info.run_id}'")
            pages |= {run.data.tags["stage"]: f"{path}/{run.info.run_id}" for run in reversed(stages)}
        return pages

    return guarded("pages of the runs", find) or {}


def _open(work: Work, pipeline: PipelineRun) -> tuple[MlflowClient, MlflowTracker]:
    client = open_client()
    experiment = experiment_id(client)
    guarded("md5 of the outputs", lambda: _tag_outputs(client, work))
    tags = {
        **git_tags(home()),
        "profile": work.profile,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": guarded("user", getpass.getuser) or "unknown",
    }
    parent = open_pipeline(client, experiment, pipeline, work, tags)
    own = {
        "stage": work.stage,
        "kind": "stage",
        PARENT: parent,
        OWNER: str(Owner.of(os.getpid())),
        ALIVE: str(milliseconds()),
        "mlflow.source.name": f"polite-flamingo {work.stage}",
    }
    child = client.create_run(experiment, run_name=work.stage, tags={**tags, **own})
    guarded("runs of killed processes", lambda: _close_dead(client, experiment))
    tracker = MlflowTracker(client, child.info.run_id, parent)
    tracker.params(work.settings)
    return client, tracker


def _close_dead(client: MlflowClient, experiment: str) -> None:
    close_dead(client, experiment, one_machine=artifact_folder(tracking_uri()) is not None)


def _watch(client: MlflowClient, tracker: MlflowTracker) -> Watch:
    def sign() -> None:
        for run_id in (tracker.run_id, tracker.parent):
            client.set_tag(run_id, ALIVE, str(milliseconds()))

    def monitor() -> Any:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(tracker.run_id, sampling_interval=SAMPLE_SECONDS, tracking_uri=tracking_uri())
        monitor.start()
        return monitor

    return Watch(sign, monitor)


def _end_pipeline(failed: bool) -> int:
    client = open_client()
    tagged = _tag_outputs(client)
    if failed:
        experiment = experiment_id(client)
        _close_dead(client, experiment)
        key = pipeline_run().key
        for run in client.search_runs([experiment], f"tags.pipeline = '{key}' and tags.kind = 'pipeline'"):
            if run.info.status == "FINISHED":  # its stages did, but DVC did not
                client.set_terminated(run.info.run_id, "FAILED", end_time=milliseconds())
                client.set_tag(run.info.run_id, REASON, "DVC ended with an error after the last stage recorded here")
    return tagged


def _tag_outputs(client: MlflowClient, starting: Work | None = None) -> int:
    """Tag the runs whose outputs DVC has taken; end what DVC never took, now that the stage runs again."""
    tagged = 0
    for run in waiting():
        outputs = taken(run, output_hashes(run.profile))
        again = starting is not None and (run.stage, run.profile) == (starting.stage, starting.profile)
        if outputs:
            guarded(f"md5 of the outputs of {run.stage}", partial(_tag, client, run, outputs))
            tagged += 1
        elif again and run.by_dvc:
            guarded(f"end of an earlier {run.stage}", partial(_never_taken, client, run))
        else:
            continue
        run.done()  # also where the run is no longer there
    return tagged


def _tag(client: MlflowClient, run: EndedRun, outputs: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run.run_id, tags=[RunTag(name_of(f"md5.{path}"), md5) for path, md5 in outputs.items()])
    _describe(client, run)


def _never_taken(client: MlflowClient, run: EndedRun) -> None:
    client.set_terminated(run.run_id, "KILLED", end_time=int(run.ended * 1000))
    client.set_tag(run.run_id, REASON, "DVC was stopped before it took the outputs: the stage ran again")
    settle(client, client.get_run(run.parent))


def _describe(client: MlflowClient, run: EndedRun) -> None:
    describe_run(client, run.parent, run.upstream, output_hashes(run.profile))


def _dataset(data: DataInput) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"type": kind, "name": name, "required": True} for name, kind in data.columns.items()]
    entity = Dataset(
        name=data.name,
        digest=data.digest,
        source_type="local",
        source=json.dumps({"uri": data.folder.as_posix()}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(data.profile, ensure_ascii=False),
    )
    shares = data.profile.get("licences", {})
    tags = [InputTag("mlflow.data.context", data.context), InputTag("rows", str(data.profile["num_rows"]))]
    if shares:
        tags.append(InputTag("licences", "; ".join(f"{name} {share:.0%}" for name, share in shares.items())[:500]))
    return DatasetInput(entity, tags)
