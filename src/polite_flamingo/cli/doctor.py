"""``doctor``: a data root's images, looked at one by one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from polite_flamingo.cli.command import SeveralValues, count, positive, verb
from polite_flamingo.cli.options import FILE, as_json, show


@verb("doctor")
@click.argument("root", type=FILE, metavar="DATA_ROOT", help="folder that holds the datasets")
@click.option(
    "--evaluation", cls=SeveralValues, metavar="FOLDER...", help="evaluation images, below DATA_ROOT or elsewhere"
)
@click.option("--samples", type=FILE, metavar="DIR", help="sample shards: images they name may be missing")
@click.option("--out", type=FILE, default=Path("reports/doctor"), metavar="DIR", help="default: reports/doctor")
@click.option("--workers", type=positive, metavar="N", help="default: one per core")
@click.option("--min-side", type=count, default=16, metavar="PIXELS", help="below it: tiny (default 16)")
@as_json
def doctor(
    root: Path,
    evaluation: tuple[str, ...],
    samples: Path | None,
    out: Path,
    workers: int | None,
    min_side: int,
    as_json: bool,
) -> None:
    """What is wrong with the images of a data root: broken, odd, copied, contaminated."""
    from polite_flamingo.doctor.checkup import check_up, render

    report = check_up(
        root,
        out=out,
        evaluation=list(evaluation),
        samples=samples,
        workers=workers or os.cpu_count() or 1,
        min_side=min_side,
    )
    show(report, render, as_json)
