"""``calibrate``: the filters measured on records known to be right or wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, share, verb
from polite_flamingo.cli.options import FILE, as_json, existing_file, model_origin
from polite_flamingo.environment import stay_offline


@verb(
    "calibrate",
    "world",
    "--labels labels.csv --max-corrupted 0.02",
    "real --data-root DIR",
)
@click.argument(
    "parts",
    nargs=-1,
    metavar="[PART]...",
    help="world: a rendered world's ground truth; labels: those of --labels; real: errors injected into the datasets "
    "of --data-root (default: labels if --labels is given, else world)",
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
@click.option("--sts", metavar="MODEL", help="real: sentence encoder (default: MiniLM from PyPI)")
@click.option("--nli", metavar="MODEL", help="real: NLI model (default: trained on DATA_ROOT/nli)")
@click.option("--clip", metavar="MODEL", help="real: CLIP model (default: none)")
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
    page: Path | None,
    as_json: bool,
    **origins: str | None,
) -> None:
    """Measure the filters on labelled records, suggest thresholds."""
    from polite_flamingo.calibrate.run import Wanted, run, text_of
    from polite_flamingo.calibrate.study import Settings
    from polite_flamingo.tracking import start_tracker

    params = options.load()
    for name, file in (("labels", labels), ("page", page)):
        if file is not None:
            existing_file(file, f"--{name}")
    chosen = {name: model_origin(name, model) for name, model in origins.items() if model}
    models: dict[str, Any] = {
        name: f"local:{model}" if Path(model).is_dir() else model for name, model in chosen.items()
    }
    wanted = Wanted(
        parts=tuple(dict.fromkeys(parts or (["labels"] if labels else ["world"]))),
        labels=labels,
        settings=Settings(max_corrupted, min_clean, prevalence, params.evaluate.bootstrap_samples, params.seed),
        page=page,
        **models,
    )
    stay_offline(params.runtime.threads, list(models.values()))
    settings = {"filter": params.filter.model_dump(mode="json"), "calibrate": models}
    with start_tracker(
        params.runtime.tracking, stage="calibrate", profile=params.profile, settings=settings
    ) as tracker:
        print(text_of(run(params, tracker, wanted), as_json))
