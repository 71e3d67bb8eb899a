"""One calibration: labelled records measured under several thresholds, written as report, plots, figures and page.

Four kinds of labelled records: ``world`` (the profile's scored rewrites under the ground truth of its rendered world),
``labels`` (the same under a CSV file of people's labels), ``real`` (right rewrites of the real datasets of a data root
and copies with an injected error) and ``described`` (descriptions of photographs there that other models wrote). No
stage of the pipeline depends on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from polite_flamingo.calibrate import figures, page
from polite_flamingo.calibrate.labels import CLEAN, NATURAL, LabelledRecord
from polite_flamingo.calibrate.study import StudySettings, study
from polite_flamingo.calibrate.suggest import CHECKS_ON
from polite_flamingo.calibrate.verdicts import LabelledTable
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.io.text import write_json
from polite_flamingo.tracking.base import Tracker

PARTS = ("world", "labels", "real", "described")
FOREIGN = ("real", "described")  # none of the profile's own records, nor scored by its scorers
PLOTS = {"curves": figures.curves, "recalls": figures.recalls, "keep_rates": figures.keep_rates}
REAL_PREVALENCE = 0.1  # assumed where errors are injected: how many a rewriter makes is not known from them


def calibrate(
    part: str,
    records: Sequence[LabelledRecord],
    paper: FilterSettings,
    profile: FilterSettings,
    settings: StudySettings,
) -> dict[str, Any]:
    """Measure the filters on one kind of labelled records and suggest thresholds.

    Args:
        part: One of `PARTS`.
        records: Scored and labelled.
        paper: Thresholds of the paper.
        profile: Thresholds where the search starts: the profile's, which are for its own scorers; under others the
            paper's.
        settings: How to measure; a prevalence of None means: natural records of the world, labels as they are,
            `REAL_PREVALENCE` for injected errors.

    Returns:
        What `study` returns.

    Raises:
        DataError: there is no record, or one was never scored.
    """
    if settings.prevalence is None:
        settings = replace(settings, prevalence=_prevalence(part, records))
    present = {"paper": paper} if profile == paper else {"paper": paper, "profile": profile}
    present[f"{list(present)[-1]} + checks"] = profile.changed(CHECKS_ON)
    return study(LabelledTable.of(records), present, profile, settings)


def write_calibration(
    part: str, report: dict[str, Any], folder: Path, *, markdown: Path | None, tracker: Tracker
) -> None:
    """Write ``PART.json`` and its plots.

    Args:
        part: One of `PARTS`.
        report: What `calibrate` returned, and how the records were made.
        folder: Gets the files.
        markdown: Page whose tables are written anew, plots beside it in a folder of its name.
        tracker: Gets files and figures.
    """
    write_json(folder / f"{part}.json", report)
    plots = [draw(folder / f"{part}_{name}.png", report) for name, draw in PLOTS.items() if _drawable(name, report)]
    if markdown is not None:
        beside = markdown.with_suffix("")
        beside.mkdir(parents=True, exist_ok=True)
        copies = [Path(shutil.copyfile(plot, beside / plot.name)) for plot in plots]
        page.write_tables(markdown, part, page.render(report), copies)
    for path in (folder / f"{part}.json", *plots):
        tracker.artifact(path)
    tracker.metrics(dict(_metrics(part, report)))


def _prevalence(part: str, records: Sequence[LabelledRecord]) -> float | None:
    if part == "real":
        return REAL_PREVALENCE
    natural = [
        record for record in records if record.kind in (CLEAN, NATURAL) and not record.rewrite.extras.get("probe")
    ]
    if part == "world" and natural:
        return sum(record.corrupted[0] for record in natural) / len(natural)
    return None


def _drawable(name: str, report: dict[str, Any]) -> bool:
    return bool(report["curves"] if name == "curves" else report["keep_rates"] if name == "keep_rates" else True)


def _metrics(part: str, report: dict[str, Any]) -> Iterable[tuple[str, float]]:
    for kind, sets in (("chain", report["chain"]), ("held_out", report["suggested"]["held_out"])):
        for thresholds, rates in sets.items():
            for name in ("recall", "clean_kept", "precision", "corrupted_after"):
                if rates[name]["value"] is not None:
                    yield f"{part}.{kind}.{thresholds}.{name}", rates[name]["value"]
    for name, curve in report["curves"].items():
        yield f"{part}.auc.{name.replace(': ', '.').replace(' ', '_')}", curve["auc"]["value"]
