"""``report``, ``reproduce`` and ``explain``: the run on one screen, beside the committed one, one record of it."""

from __future__ import annotations

from pathlib import Path

import click

from polite_flamingo.cli.command import CommonOptions, positive, verb
from polite_flamingo.cli.options import FILE, as_json, show


@verb("report")
@as_json
@click.option("--records", type=positive, metavar="N", help="instead: the first N rewrites by id, as Markdown")
@click.option("--picture", type=FILE, metavar="PNG", help="instead: the photographs with their records, drawn there")
@click.option(
    "--photographs", type=positive, default=3, metavar="N", help="of the picture: the first by path (default: 3)"
)
@click.pass_obj
def report(options: CommonOptions, as_json: bool, records: int | None, picture: Path | None, photographs: int) -> None:
    """The headline figures on one screen; or records to look at."""
    from polite_flamingo.reports.headline import build_report, first_records, render_report

    params = options.load()
    if records is not None:
        print(first_records(params, records))
    elif picture is not None:
        from polite_flamingo.reports.before_after import draw_before_after

        print(draw_before_after(params, photographs, picture))
    else:
        show(build_report(params), render_report, as_json)


@verb("reproduce", "--against v1.0", "--json")
@click.option(
    "--against", default="HEAD", metavar="REV|FILE", help="a git revision, or a summary.json (default: the last commit)"
)
@as_json
@click.pass_obj
def reproduce(options: CommonOptions, against: str, as_json: bool) -> int:
    """Whether the run that lies here repeats the committed figures.

    Every figure is compared within its tolerance, and every ordering the paper makes is looked for in both. Exit
    status 0: all hold; 1: some do not, and the table says which.
    """
    from polite_flamingo.reports.reproduce import compare, render

    comparison = compare(options.load(), against)
    show(comparison.to_json() if as_json else comparison, render, as_json)
    return 0 if comparison.holds else 1


@verb("explain", "coco/train/5")
@click.argument("record", metavar="ID", help="record id, or an unambiguous part of it")
@click.pass_obj
def explain(options: CommonOptions, record: str) -> None:
    """One record's life, from annotation to verdict."""
    from polite_flamingo.reports.explain import explain

    print(explain(options.load(), record))
