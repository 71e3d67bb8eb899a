"""The run of a pipeline: the one line per `dvc repro` that people compare.

Its metrics are headline figures of stages that are up to date, its parameters those that differ from the profile's, its
description what changed against the last finished run of the profile.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from polite_flamingo.markdown import code, escaped
from polite_flamingo.tracking.base import Work, flatten
from polite_flamingo.tracking.endings import ALIVE, OWNER, milliseconds
from polite_flamingo.tracking.outputs import Hashes
from polite_flamingo.tracking.owner import PipelineRun, readable
from polite_flamingo.tracking.store import load_json
from polite_flamingo.tracking.view import show_columns

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAMETERS = "parameters.json"  # all of them
OUTPUTS = "outputs.json"  # md5 of the outputs of every stage that is up to date, by stage
NOTE = "mlflow.note.content"
BEFORE = "compared.with"  # tag: the run that the description compares with
DVC_EXPERIMENT = "DVC_EXP_NAME"  # variable of a stage's environment: name of the experiment, as `dvc exp show` has it
MACHINE = "runtime."  # parameters of the machine, which change no figure
PARAMS_PER_BATCH = 100  # MLflow's limit
MOST_ROWS = 40  # of a table in the description


def open_pipeline(
    client: MlflowClient, experiment: str, pipeline: PipelineRun, work: Work, tags: Mapping[str, str]
) -> str:
    """Id of the run of this stage's pipeline, made by its first stage."""
    runs = client.search_runs(
        [experiment], f"tags.pipeline = '{pipeline.key}' and tags.kind = 'pipeline'", max_results=1
    )
    if runs:
        found: str = runs[0].info.run_id
        client.update_run(found, status="RUNNING")
        return found
    last = client.search_runs(
        [experiment],
        f"tags.kind = 'pipeline' and tags.profile = '{work.profile}' and attributes.status = 'FINISHED'",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    own = {"pipeline": pipeline.key, "kind": "pipeline", ALIVE: str(milliseconds())}
    if pipeline.owner is not None:
        own[OWNER] = str(pipeline.owner)
    if last:
        own[BEFORE] = last[0].info.run_id
    experiment_of_dvc = os.environ.get(DVC_EXPERIMENT)
    if experiment_of_dvc:
        own["dvc.experiment"] = experiment_of_dvc
    name = f"{work.profile} {experiment_of_dvc or time.strftime('%Y-%m-%d %H:%M:%S')}"
    source = readable(pipeline.command) or pipeline.key
    run = client.create_run(experiment, run_name=name, tags={**tags, **own, "mlflow.source.name": source})
    created: str = run.info.run_id
    log_params(client, created, work.changes)
    show_columns(client, experiment, map(name_of, work.changes))
    client.log_dict(created, dict(work.settings), PARAMETERS)
    return created


def log_params(client: MlflowClient, run_id: str, values: Mapping[str, object]) -> None:
    """Log settings, nested mappings as dotted names."""
    from mlflow.entities import Param

    entries = [Param(name_of(key), str(value)[:6000]) for key, value in flatten(values).items()]
    for start in range(0, len(entries), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=entries[start : start + PARAMS_PER_BATCH])


def log_headline(client: MlflowClient, run_id: str, figures: Mapping[str, Any]) -> None:
    """Log headline figures, once each as long as they stay the same."""
    from mlflow.entities import Metric

    known = client.get_run(run_id).data.metrics
    values = {name_of(key): value for key, value in flatten(figures).items() if is_number(value)}
    now = milliseconds()
    fresh = [Metric(key, float(value), now, 0) for key, value in values.items() if known.get(key) != value]
    if fresh:
        client.log_batch(run_id, metrics=fresh)


def describe_run(client: MlflowClient, run_id: str, upstream: Iterable[str], hashes: Hashes) -> None:
    """Write what changed against the last finished run of the profile into the run's description.

    Args:
        client: MLflow's client.
        run_id: The pipeline's run.
        upstream: Stages that are up to date.
        hashes: What dvc.lock says of them now.
    """
    outputs = {stage: hashes[stage] for stage in upstream if stage in hashes}
    client.log_dict(run_id, outputs, OUTPUTS)
    run = client.get_run(run_id)
    lines = [_own_line(run.data.params)]
    before = run.data.tags.get(BEFORE)
    if before is not None:
        earlier = client.get_run(before)
        lines += ["", f"Against [{earlier.info.run_name}](#/experiments/{run.info.experiment_id}/runs/{before}):"]
        parameters = [load_json(client, each, PARAMETERS) or {} for each in (before, run_id)]
        changed = _table("parameter", *map(_without_machine, parameters))
        figures = _table("figure", earlier.data.metrics, run.data.metrics, only_common=True)
        code = _code(earlier.data.tags, run.data.tags)
        written = _outputs(load_json(client, before, OUTPUTS) or {}, outputs)
        lines += [*changed, *figures, *code, *written]
        if not (changed or figures or code or written):
            lines += ["", "nothing changed."]
    client.set_tag(run_id, NOTE, "\n".join(lines))


def name_of(key: str) -> str:
    """A key as MLflow allows it."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in key)


def is_number(value: object) -> bool:
    """Whether MLflow can log it as a metric."""
    return isinstance(value, bool | int | float) and math.isfinite(value)


def _own_line(params: Mapping[str, str]) -> str:
    if not params:
        return "All parameters are the profile's."
    return "Not the profile's: " + ", ".join(code(f"{key}={value}") for key, value in params.items())


def _without_machine(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flatten(parameters).items() if not key.startswith(MACHINE)}


def _table(title: str, old: Mapping[str, Any], new: Mapping[str, Any], *, only_common: bool = False) -> list[str]:
    """Markdown rows of what differs; empty where nothing does."""
    keys = [key for key in new if key in old] if only_common else [*new, *(key for key in old if key not in new)]
    rows = [(key, old.get(key, "–"), new.get(key, "–")) for key in keys if old.get(key, "–") != new.get(key, "–")]
    if not rows or not old:
        return []
    lines = ["", f"| {title} | before | now |", "|---|---|---|"]
    lines += [
        f"| {escaped(key)} | {_cell(before)} | {_cell(now)}{_step(before, now)} |"
        for key, before, now in rows[:MOST_ROWS]
    ]
    return [*lines, *([f"| … | | {len(rows) - MOST_ROWS} more |"] if len(rows) > MOST_ROWS else [])]


def _cell(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return escaped(text[:120])


def _step(before: Any, now: Any) -> str:
    return f" ({now - before:+.3g})" if is_number(before) and is_number(now) else ""


def _code(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    states = [f"{tags.get('git.commit', '')[:8]}{'*' * (tags.get('git.dirty') == 'true')}" for tags in (old, new)]
    star = " (* with changes that are not committed)" if "*" in "".join(states) else ""
    return [] if states[0] == states[1] else ["", f"Code: `{states[0]}` → `{states[1]}`{star}"]


def _outputs(old: Hashes, new: Hashes) -> list[str]:
    changed = [f"`{stage}`" for stage, outs in new.items() if stage in old and outs != old[stage]]
    return ["", f"Stages whose outputs differ: {', '.join(changed)}"] if changed else []
