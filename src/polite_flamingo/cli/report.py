"""``report`` and ``explain``: the whole run on one screen, one record from end to end."""

from __future__ import annotations

import click

from polite_flamingo.cli.command import CommonOptions, positive, verb
from polite_flamingo.cli.options import as_json, show


@verb("report")
@as_json
@click.option("--records", type=positive, metavar="N", help="instead: the first N rewrites by id, as Markdown")
@click.pass_obj
def report(options: CommonOptions, as_json: bool, records: int | None) -> None:
    """The headline figures on one screen."""
    from polite_flamingo.reports.headline import build_report, first_records, render_report

    params = options.load()
    if records is not None:
        print(first_records(params, records))
    else:
        show(build_report(params), render_report, as_json)


@verb("explain", "coco/train/5")
@click.argument("record", metavar="ID", help="record id, or an unambiguous part of it")
@click.pass_obj
def explain(options: CommonOptions, record: str) -> None:
    """One record's life, from annotation to verdict."""
    from polite_flamingo.reports.explain import explain

    print(explain(options.load(), record))
