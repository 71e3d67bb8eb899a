"""``results``: the paper's tables and figures as numbers, ours beside them."""

from __future__ import annotations

from pathlib import Path

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, verb
from polite_flamingo.cli.options import FILE, existing_file


@verb("results", "--beside laptop --page docs/results.md")
@click.option("--beside", cls=SeveralValues, metavar="PROFILE...", help="other profiles whose reports lie here")
@click.option("--page", type=FILE, metavar="FILE", help="Markdown page that gets the tables")
@click.pass_obj
def results(options: CommonOptions, beside: tuple[str, ...], page: Path | None) -> None:
    """The paper's Tables 1 to 3 and Figures 6, 8 and 9 as numbers, with what was measured here."""
    from polite_flamingo.reports.results.page import results

    if page is not None:
        existing_file(page, "--page")
    print(results(list(dict.fromkeys([options.load().profile, *beside])), page))
