"""What is recorded of a stage: its settings, the data it read, its figures, and those of the pipeline up to it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ConfigError
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import read_json
from polite_flamingo.launch.pipeline_file import overlap, predecessors, read_stages
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.pipeline import Stage
from polite_flamingo.reports.summary import summarise
from polite_flamingo.tracking import start_tracker
from polite_flamingo.tracking.base import DataInput, StageTracker, Work, flatten, guarded
from polite_flamingo.tracking.data import describe
from polite_flamingo.tracking.git import committed
from polite_flamingo.tracking.outputs import output_hashes
from polite_flamingo.tracking.store import home

LOG = logging.getLogger(__name__)

PIPELINE = Path("dvc.yaml")
DATA = {  # name -> folder below data/P, what it is for
    "raw instruction": ("samples/instruction", "curation"),
    "raw annotation": ("samples/annotation", "curation"),
    "pairs": ("pairs", "training"),
    "PF-1M": ("pf1m/kept", "training"),
    "evaluation": ("samples/evaluation", "evaluation"),
}
PAGES = {
    "filter": ("filtering.html", "filter_waterfall.png")
}  # of reports/P, besides PNGs in folders of the stage's name
ANSWERS = "answers.json"
ANSWERS_SHOWN = 1000  # the first by id
TEXT_SHOWN = 600  # letters


@contextmanager
def recorded(stage: Stage, params: Params) -> Iterator[StageTracker]:
    """Record a stage that runs in the block; what fails in recording is a warning.

    Its report is to be logged by the block; what the stage wrote is attached once it has ended well.
    """
    kind = params.runtime.tracking if os.environ.get("RANK", "0") == "0" else "none"
    if kind == "none":
        with start_tracker(kind, Work(stage.name, params.profile)) as tracker:
            yield tracker
        return
    stages = guarded("dvc.yaml", lambda: _stages(params.profile)) or {}
    settings = params.model_dump(mode="json", exclude={"overridden", "sources"})
    changes = guarded("parameters", lambda: differences(params)) or {}
    upstream = ancestors(stage.name, stages)
    with start_tracker(kind, Work(stage.name, params.profile, settings, changes, upstream)) as tracker:
        guarded("data", lambda: _log_data(stage.name, upstream, params, stages, tracker))
        yield tracker
        guarded("figures", lambda: _log_results(stage, upstream, params, stages, tracker))


def ancestors(stage: str, stages: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The stages whose outputs a stage depends on, directly or not, and the stage itself, in the file's order.

    Args:
        stage: Name of a stage.
        stages: Those of dvc.yaml.
    """
    before = predecessors(stages)
    found, ahead = {stage}, [stage]
    while ahead:
        new = before.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return tuple(name for name in (stages or found) if name in found)


def inputs_of(stage: str, profile: str) -> list[str]:
    """Paths that a stage reads."""
    return list(_stages(profile).get(stage, {}).get("deps", ())) if PIPELINE.is_file() else []


def differences(params: Params) -> dict[str, Any]:
    """What makes a run different: the values that are neither the paper's nor those of the profile as committed.

    Returns:
        Dotted name -> value, without those of the machine.
    """
    unlike = {"runtime", "profile", "overridden"}
    profile = Path("configs") / "profiles" / f"{params.profile}.yaml"
    usual = None
    for text in (committed(profile, home()), profile.read_text(encoding="utf-8")):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "params.yaml"
            write_atomic(file, f"profile: {params.profile}\n")
            write_atomic(Path(folder) / profile, text or "")
            try:
                usual = flatten(load_params(file).model_dump(mode="json", exclude=unlike))
                break
            except ConfigError:  # not in git, or of another version
                continue
    own = flatten(params.model_dump(mode="json", exclude=unlike))
    return {key: value for key, value in own.items() if usual is not None and usual.get(key) != value}


def _stages(profile: str) -> dict[str, dict[str, list[str]]]:
    """The stages of dvc.yaml with this profile's paths."""

    def paths(entries: Sequence[Any]) -> list[str]:
        names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
        return [name.replace("${profile}", profile).replace("${item.profile}", profile) for name in names]

    return {
        name: {key: paths(stage.get(key, ())) for key in ("deps", "outs", "metrics", "plots")}
        for name, stage in read_stages(PIPELINE).items()
    }


def _outs(stage: Mapping[str, Sequence[str]]) -> list[str]:
    return [*stage.get("outs", ()), *stage.get("metrics", ()), *stage.get("plots", ())]


def _log_data(
    stage: str,
    upstream: Sequence[str],
    params: Params,
    stages: Mapping[str, Mapping[str, Sequence[str]]],
    tracker: StageTracker,
) -> None:
    hashes = output_hashes(params.profile)

    def read_by(names: Sequence[str]) -> list[DataInput]:
        deps = [dep for name in names for dep in stages.get(name, {}).get("deps", ())]
        folders = {name: params.data / folder for name, (folder, _) in DATA.items()}
        read = [name for name, folder in folders.items() if any(overlap(str(folder), dep) for dep in deps)]
        found = [describe(name, folders[name], DATA[name][1], hashes) for name in read]
        return [data for data in found if data is not None]

    tracker.inputs(read_by([stage]), read_by(upstream))


def _log_results(
    stage: Stage,
    upstream: Sequence[str],
    params: Params,
    stages: Mapping[str, Mapping[str, Sequence[str]]],
    tracker: StageTracker,
) -> None:
    """Headline figures of what is up to date, and the files that the stage wrote."""
    folder = params.reports
    written = [Path(out) for name in upstream for out in _outs(stages.get(name, {}))]
    reports = {path.stem: read_json(path) for path in written if path.match(f"{folder}/*.json") and path.is_file()}
    tracker.headline(summarise(reports))
    own = folder / "checks" / f"{stage.name}.json" if stage.module == "check" else folder / f"{stage.name}.json"
    if own.is_file():
        tracker.artifact(own)
    figures = "figures" if stage.name == "evaluate" else f"{stage.name}*"  # tune_raw has two loss curves
    for path in [*(folder / name for name in PAGES.get(stage.name, ())), *sorted(folder.glob(f"{figures}/*.png"))]:
        if path.is_file():
            tracker.shown(path)
    if stage.name == "evaluate":
        tracker.table(ANSWERS, answers(params.data / "answers", params.evaluate.names))


def answers(folder: Path, models: Sequence[str]) -> list[dict[str, str]]:
    """A row per evaluation sample, the first by id: question, annotation, and a column of answers per model."""
    rows: dict[str, dict[str, str]] = {}
    present = [model for model in models if (folder / model).is_dir()]
    for model in present:
        for row in read_shards(folder / model, ["id", "task", "instruction", "raw_answer", "rewritten"]):
            known = {
                "id": row["id"],
                "task": row["task"],
                "question": row["instruction"],
                "annotation": row["raw_answer"],
            }
            rows.setdefault(row["id"], known)[model] = row["rewritten"]
    chosen = [rows[key] for key in sorted(rows)[:ANSWERS_SHOWN]]
    columns = ("id", *reversed(present), "annotation", "question", "task")  # the view compares the first after the id
    return [{column: row.get(column, "")[:TEXT_SHOWN] for column in columns} for row in chosen]
