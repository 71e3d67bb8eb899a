"""``filtering-report`` and ``whatif``: what the filters took, and what other thresholds would take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, count, verb
from polite_flamingo.cli.options import FILE, as_json, show
from polite_flamingo.errors import ConfigError


@verb("filtering-report")
@click.option("--out", type=FILE, metavar="FILE", help="default: reports/PROFILE/filtering.html")
@click.option("--examples", type=count, default=300, metavar="N", help="records to show (default: 300)")
@click.pass_obj
def filtering_report(options: CommonOptions, out: Path | None, examples: int) -> None:
    """What the filters took, as one HTML page with examples."""
    from polite_flamingo.io.text import read_json
    from polite_flamingo.reports.filtering.page import write_report

    params = options.load()
    page = out or params.reports / "filtering.html"
    if page.is_dir():
        raise ConfigError("a folder, not a file", value=str(page), where="--out", next_step="name an HTML file")
    figures = params.reports / "filter.json"
    summary = write_report(
        params.data / "pf1m",
        page,
        image_root=params.image_root,
        profile=params.profile,
        sets=read_json(figures).get("sets") if figures.is_file() else None,
        examples=examples,
    )
    print(json.dumps({"page": str(page), **summary}))


@verb(
    "whatif",
    "--set filter.sts.min_cosine=0.5",
    "--set filter.sts.min_cosine=0.5 --set filter.numbers.max_changed=0 --examples 3",
)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="another filter value; may be given repeatedly"
)
@click.option(
    "--examples", type=count, default=0, metavar="N", help="gained and lost records to show, N of each (default: 0)"
)
@as_json
@click.pass_obj
def whatif(options: CommonOptions, changes: tuple[str, ...], examples: int, as_json: bool) -> None:
    """What other thresholds would keep, per source: seconds, no model; writes nothing."""
    from polite_flamingo.filter.whatif import render, whatif
    from polite_flamingo.params.changes import changed, parse_changes

    params = options.load()
    other = changed(params, parse_changes(changes, "filter"))
    comparison: dict[str, Any] = whatif(params.data / "scored", params.filter, other.filter, examples=examples)
    show(comparison, lambda report: render(report, params.profile), as_json)
