"""``calibrate``: the filters measured on records known to be right or wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polite_flamingo.cli.command import CommonOptions, share, verb
from polite_flamingo.cli.options import FILE, as_json, existing_file, model_origin, show
from polite_flamingo.environment import stay_offline
from polite_flamingo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from polite_flamingo.calibrate.labels import LabelledRecord
    from polite_flamingo.filter.chain import FilterSettings
    from polite_flamingo.params.schema import Params


@verb(
    "calibrate",
    "world",
    "--labels labels.csv --max-corrupted 0.02",
    "real described --data-root DIR",
)
@click.argument(
    "parts",
    nargs=-1,
    metavar="[PART]...",
    help="world: a rendered world's ground truth; labels: those of --labels; real: errors injected into the datasets "
    "of --data-root; described: what other models said of its photographs (default: labels with --labels, else world)",
)
@click.option("--labels", type=FILE, metavar="CSV", help="columns id and label (clean or corrupted)")
@click.option(
    "--max-corrupted",
    type=share,
    default=0.01,
    metavar="X",
    help="target: share of corrupted records among the kept ones (default: 0.01)",
)
@click.option(
    "--min-clean", type=share, default=0.9, metavar="Y", help="target: share of clean ones kept (default: 0.9)"
)
@click.option(
    "--prevalence",
    type=share,
    metavar="P",
    help="share of corrupted records before filtering (default: as labelled; 0.1 for real)",
)
@click.option("--sts", metavar="MODEL", help="real: sentence encoder (default: the profile's, or MiniLM from PyPI)")
@click.option("--nli", metavar="MODEL", help="real: NLI model (default: the profile's, or trained on DATA_ROOT/nli)")
@click.option("--clip", metavar="MODEL", help="real: image-text model (default: the profile's, or none)")
@click.option("--learn", type=FILE, metavar="FILE", help="train the learned filter on these records and write it")
@click.option("--page", type=FILE, metavar="FILE", help="Markdown page whose tables and plots are written anew")
@as_json
@click.pass_obj
def calibrate(
    options: CommonOptions,
    parts: tuple[str, ...],
    labels: Path | None,
    max_corrupted: float,
    min_clean: float,
    prevalence: float | None,
    learn: Path | None,
    page: Path | None,
    as_json: bool,
    **origins: str | None,
) -> None:
    """Measure the filters on labelled records, suggest thresholds."""
    from polite_flamingo.calibrate.page import summary
    from polite_flamingo.calibrate.run import FOREIGN, write_calibration
    from polite_flamingo.calibrate.run import calibrate as measure
    from polite_flamingo.calibrate.study import StudySettings
    from polite_flamingo.tracking import start_tracker
    from polite_flamingo.tracking.base import Work

    params = options.load()
    for name, file in (("labels", labels), ("page", page)):
        if file is not None:
            existing_file(file, f"--{name}")
    chosen = {name: _origin(name, model) for name, model in origins.items() if model}
    if learn is not None and len(parts) > 1:
        raise ConfigError("the learned filter is trained on one kind of records", value=parts, next_step="name one")
    parts = tuple(dict.fromkeys(parts or (["labels"] if labels else ["world"])))
    _check(parts, labels)
    settings = StudySettings(max_corrupted, min_clean, prevalence, params.evaluate.bootstrap_samples, params.seed)
    stay_offline(params.runtime.threads, list(chosen.values()))
    logged = {"filter": params.filter.model_dump(mode="json"), "calibrate": chosen}
    paper = paper_thresholds(params)
    reports: dict[str, Any] = {}
    with start_tracker(params.runtime.tracking, Work("calibrate", params.profile, logged)) as tracker:
        for part in parts:
            records, provenance = _records(part, params, labels, chosen)
            start = paper if part in FOREIGN and (chosen or _own_scorers(params) is None) else params.filter
            reports[part] = {**measure(part, records, paper, start, settings), **provenance}
            if learn is not None:
                reports[part]["learned"] = _learn(learn, records, reports[part]["prevalence"], min_clean)
            write_calibration(part, reports[part], params.reports / "calibration", markdown=page, tracker=tracker)
    show(reports, lambda all_parts: "\n\n".join(f"{part}\n{summary(one)}" for part, one in all_parts.items()), as_json)


def _learn(file: Path, records: list[LabelledRecord], prevalence: float, min_clean: float) -> dict[str, Any]:
    """Train the learned filter, write it to `file` and return what was measured."""
    from polite_flamingo.calibrate.learned import learn, write_learned
    from polite_flamingo.calibrate.verdicts import LabelledTable

    learned = learn(LabelledTable.of(records), prevalence, min_clean)
    write_learned(file, learned)
    return {"file": str(file), "max_risk": learned["max_risk"], "measured": learned["measured"]}


def paper_thresholds(params: Params) -> FilterSettings:
    """The thresholds of params.yaml, without what the profile replaces."""
    papers = {name: paper for name, (paper, _) in params.overridden.items() if name.startswith("filter.")}
    return params.filter.changed({name.removeprefix("filter."): paper for name, paper in papers.items()})


def _origin(name: str, model: str) -> str:
    origin = model_origin(name, model)
    return f"local:{origin}" if Path(origin).is_dir() else origin


def _check(parts: tuple[str, ...], labels: Path | None) -> None:
    from polite_flamingo.calibrate.run import PARTS

    if unknown := [part for part in parts if part not in PARTS]:
        raise ConfigError("unknown kind of labelled records", value=unknown, next_step=f"some of {', '.join(PARTS)}")
    if ("labels" in parts) != (labels is not None):
        raise ConfigError("the part `labels` and the option --labels belong together", next_step="give both or none")


def _records(
    part: str, params: Params, labels: Path | None, origins: Mapping[str, str]
) -> tuple[list[LabelledRecord], dict[str, Any]]:
    """Labelled records of a part, and how they were made."""
    from polite_flamingo.calibrate.labels import from_people, from_world
    from polite_flamingo.calibrate.run import FOREIGN
    from polite_flamingo.io.shards import read_shards
    from polite_flamingo.records import Rewrite
    from polite_flamingo.world.truth import load_ground_truth

    if part in FOREIGN:
        return _foreign_records(part, params, origins)
    scored = (Rewrite.from_row(row) for row in read_shards(params.data / "scored"))
    if labels is not None and part == "labels":
        return list(from_people(labels, scored)), {}
    truth = load_ground_truth(params.image_root)
    if truth is None:
        step = "use a profile with a rendered world, or --labels"
        if params.world is not None:
            step = "run `polite-flamingo run --until score` first"
        raise DataError("no ground truth", where=params.image_root, next_step=step)
    return list(from_world(truth, scored)), {}


def _own_scorers(params: Params) -> dict[str, str] | None:
    """Origins of the profile's scorers, if they are for photographs; None: it renders its images, or goes without."""
    from polite_flamingo.calibrate.real import ABSENT, ORIGINS

    origins = {name: getattr(params.backbones, name) for name in ORIGINS}
    return origins if params.world is None and ABSENT not in origins.values() else None


def _foreign_records(
    part: str, params: Params, chosen: Mapping[str, str]
) -> tuple[list[LabelledRecord], dict[str, Any]]:
    """Records of real datasets, scored by the stage `score` under a profile of their own."""
    from polite_flamingo.calibrate.real import ABSENT, ORIGINS, described_records, real_records
    from polite_flamingo.params.schema import DATA_ROOT_VARIABLE
    from polite_flamingo.stages import score
    from polite_flamingo.tracking.base import NullTracker

    root = Path(os.environ.get(DATA_ROOT_VARIABLE) or params.data_root or "")
    if not root.is_dir() or root == Path():
        raise ConfigError(
            "no data root", value=None if root == Path() else str(root), next_step="pass --data-root with real datasets"
        )
    nothing_asked = {"nli": ABSENT} if part == "described" else {}
    origins = {**(_own_scorers(params) or ORIGINS), **nothing_asked, **chosen}
    own = params.model_copy(
        update={
            "profile": f"{params.profile}/calibration",
            "world": None,
            "data_root": str(root),
            "backbones": type(params.backbones)(flamingo=ABSENT, reward=ABSENT, **origins),
        }
    )
    return (described_records if part == "described" else real_records)(
        root,
        origins,
        seed=params.seed,
        data=own.data,
        models=own.models,
        score=lambda: score.run(own, NullTracker()),
    )
