"""Measure the goals: ``python -m polite_flamingo.goals --data-root DIR [--page docs/real_run.md]``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--data-root", type=FOLDER, required=True, help="Folder that holds coco/, flickr8k/ …")
@click.option("--profile", default="laptop", help="Whose sources, judges and filters.")
@click.option("--most", type=int, default=150, help="Records of a source, at most.")
@click.option("--work", type=FOLDER, default=Path(".work/goals"), help="What is done already; it goes on there.")
@click.option("--out", type=FILE, default=Path("reports/goals.json"), help="Figures as JSON.")
@click.option("--page", type=FILE, default=None, help="Page to fill between its marks `goals` and `records`.")
def main(data_root: Path, profile: str, most: int, work: Path, out: Path, page: Path | None) -> None:
    """Rewrite, score and filter held-out records, measure the tuned assistant, and write the table."""
    from polite_flamingo.goals.run import figures_of, rewrite_held_out
    from polite_flamingo.goals.table import render_goals, render_records
    from polite_flamingo.io.text import write_json
    from polite_flamingo.marked import fill
    from polite_flamingo.params.reading import load_params
    from polite_flamingo.params.schema import DATA_ROOT_VARIABLE

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ[DATA_ROOT_VARIABLE] = str(data_root.resolve())
    params = load_params(profile=profile)
    folder = work / f"{profile}-{most}"
    records = rewrite_held_out(params, most, folder)
    figures = figures_of(params, records, most, folder)
    table = render_goals(figures)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {"most": most, "records": len(records), "figures": figures})
    if page is not None:
        fill(page, {"goals": table, "records": render_records(records)})
    click.echo(table)


if __name__ == "__main__":
    main()
