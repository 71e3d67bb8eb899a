"""``ablations``: the variants of Figure 9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, count, positive, verb
from polite_flamingo.cli.options import FILE, existing_file


@verb("ablations", "--dry-run", "--variants vit epochs --seeds 1 2")
@click.option("--variants", cls=SeveralValues, metavar="NAME...", help="default: all; the recipe always runs")
@click.option("--seeds", cls=SeveralValues, type=count, default=(1, 2, 3), metavar="N...", help="default: 1 2 3")
@click.option("--recipe-seeds", cls=SeveralValues, type=count, metavar="N...", help="more of the recipe's")
@click.option("--jobs", type=positive, default=2, metavar="N", help="experiments side by side (default: 2)")
@click.option("--page", type=FILE, metavar="FILE", help="Markdown page that gets the tables and figures")
@click.option(
    "--set",
    "changes",
    cls=SeveralValues,
    metavar="KEY=VALUE...",
    help="set in every experiment, e.g. tune.stage1.epochs=0.5",
)
@click.option("--dry-run", is_flag=True, help="show the DVC commands instead of running them")
@click.pass_obj
def ablations(
    options: CommonOptions,
    variants: tuple[str, ...],
    seeds: tuple[int, ...],
    recipe_seeds: tuple[int, ...],
    jobs: int,
    page: Path | None,
    changes: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Train and measure the variants of Figure 9 as DVC experiments."""
    from polite_flamingo.ablations.run import commands, run_ablations
    from polite_flamingo.params.changes import parse_changes

    extra = parse_changes(changes)
    if page is not None:
        existing_file(page, "--page")
    params = options.load()
    selected: dict[str, Any] = {
        "names": list(variants) or None,
        "seeds": list(dict.fromkeys(seeds)),
        "recipe_seeds": list(dict.fromkeys(recipe_seeds)),
    }
    if dry_run:
        print(commands(params, **selected, extra=extra))
    else:
        print(run_ablations(params, **selected, jobs=jobs, extra=extra, page=page))
