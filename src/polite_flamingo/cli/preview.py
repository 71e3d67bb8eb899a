"""``preview``: a few records of what is to come, and what all of it would cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, positive, rate, verb
from polite_flamingo.cli.options import FILE, as_json
from polite_flamingo.cli.plan import count


@verb("preview", "-n 20", "--id table/all/photos/3", "--price-in 0.15 --price-out 0.6 --records 1M")
@click.option("-n", "--number", type=positive, default=10, metavar="N", help="records, spread over the sources (10)")
@click.option("--id", "ids", multiple=True, metavar="ID", help="this record instead; may be given again")
@click.option("--out", type=FILE, metavar="FILE", help="the page (default: .work/preview/PROFILE.html)")
@click.option("--records", type=count, metavar="N", help="records of the whole run, where reading a part does not tell")
@click.option("--price-in", type=rate, metavar="X", help="of a million prompt tokens (default: runtime.endpoint)")
@click.option("--price-out", type=rate, metavar="X", help="of a million answered tokens (default: runtime.endpoint)")
@as_json
@click.pass_obj
def preview(
    options: CommonOptions,
    number: int,
    ids: tuple[str, ...],
    out: Path | None,
    records: int | None,
    price_in: float | None,
    price_out: float | None,
    as_json: bool,
) -> None:
    """Rewrite, score and filter a few records and say what the whole run costs; nothing is recorded.

    Answers of an endpoint are kept in .work/answers, as those of a run, which so takes them from there.
    """
    from polite_flamingo.preview.run import look

    prices = {name: price for name, price in (("price_in", price_in), ("price_out", price_out)) if price is not None}
    params = options.load()
    page = out or Path(".work") / "preview" / f"{params.profile}.html"
    shown: Any = look(params, number, ids, page=page, records=records, prices=prices)
    print(json.dumps(shown.to_json(), indent=2, ensure_ascii=False) if as_json else f"{shown.text}\n\npage: {page}")
