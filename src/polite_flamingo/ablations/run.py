"""The verb `ablations`: experiments, their reports, the summary, two figures and, on request, the page."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.ablations.experiments import Experiment, command, experiments, prepare
from polite_flamingo.ablations.page import tables, update
from polite_flamingo.ablations.queue import run_all
from polite_flamingo.ablations.results import TUNED, collect, summarise
from polite_flamingo.ablations.variants import BASE, select_variants
from polite_flamingo.errors import DataError, PoliteFlamingoError
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.text import write_json
from polite_flamingo.params.schema import Params

LOG = logging.getLogger(__name__)
NAME = re.compile(r"\w+-seed(\d+)-[0-9a-f]+")  # of an experiment


def run_ablations(
    params: Params,
    *,
    names: Sequence[str] | None,
    seeds: Sequence[int],
    jobs: int,
    extra: Mapping[str, Any],
    page: Path | None,
    recipe_seeds: Sequence[int] = (),
) -> str:
    """Run what is missing, write ``reports/ablations/P`` and return the tables of all that is finished.

    Args:
        params: The profile's parameters.
        names: Variants; None runs all.
        seeds: Values of `tune.common.seed`.
        jobs: Experiments side by side.
        extra: Changes made to every experiment.
        page: Markdown file that gets tables and figures.
        recipe_seeds: More seeds for the recipe alone, whose spread the U needs.

    Raises:
        PoliteFlamingoError: an experiment failed; the others are finished and reported.
    """
    prepare(params)
    selected = experiments(params, select_variants(params, names), seeds, extra, recipe_seeds)
    folder = Path("reports") / "ablations" / params.profile

    def finished(experiment: Experiment) -> None:
        collect(params, experiment, folder)

    failed = run_all(params, selected, jobs=jobs, logs=Path(".work") / "ablations", finished=finished)
    text, figures = _report(params, measured(params, extra, folder), folder)
    if failed:
        raise PoliteFlamingoError(
            f"{len(failed)} of {len(selected)} experiments failed",
            value=[experiment.name for experiment in failed],
            where=Path(".work") / "ablations",
            next_step="read their logs and run the same command again; finished ones are kept",
        )
    if page is not None:
        update(page, text, figures)
    return text


def commands(
    params: Params,
    *,
    names: Sequence[str] | None,
    seeds: Sequence[int],
    extra: Mapping[str, Any],
    recipe_seeds: Sequence[int] = (),
) -> str:
    """The DVC commands that `run_ablations` would run, one per line."""
    selected = experiments(params, select_variants(params, names), seeds, extra, recipe_seeds)
    return "\n".join(" ".join(["dvc", *command(params, experiment)[3:]]) for experiment in selected)


def measured(params: Params, extra: Mapping[str, Any], folder: Path) -> list[Path]:
    """Reports of all experiments that were finished with the present code, data and settings, whoever asked for them.

    Args:
        params: The profile's parameters.
        extra: Changes made to every experiment.
        folder: Folder of the reports.
    """
    names = [NAME.fullmatch(path.stem) for path in folder.glob("*.json")]
    seeds = sorted({int(name[1]) for name in names if name})
    paths = (folder / f"{e.name}.json" for e in experiments(params, select_variants(params, None), seeds, extra))
    return [path for path in paths if path.is_file()]


def _report(params: Params, files: Sequence[Path], folder: Path) -> tuple[str, list[Path]]:
    from polite_flamingo.evaluate.variant_figures import u_by_seed, variant_panels

    if not files:
        raise DataError("no experiment was finished", where=folder, next_step="see .work/ablations for the logs")
    summary = summarise(files, resamples=params.evaluate.bootstrap_samples, seed=params.seed)
    variants = summary["variants"]
    write_json(folder / "summary.json", summary)
    figures = [variant_panels(folder / "ablations.png", variants, BASE)]
    if BASE in variants:
        raw = variants["raw"]["stages"] if "raw" in variants else None
        figures.append(u_by_seed(folder / "u_by_seed.png", variants[BASE]["stages"], raw, TUNED))
    text = tables(summary)
    write_atomic(folder / "tables.md", f"{text}\n".encode())
    LOG.info("wrote %s", folder)
    return text, figures
