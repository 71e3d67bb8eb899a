"""``plan``: what a profile would cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, rate, verb
from polite_flamingo.cli.options import as_json, show
from polite_flamingo.errors import ConfigError

_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kMB]?)")
_TIMES = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


def count(text: str) -> int:
    """An option's value: a number of records, e.g. ``50000``, ``1.17M``, ``1B``."""
    match = _COUNT.fullmatch(text.replace(",", "").replace("_", ""))
    if match is None:
        raise click.BadParameter(f"{text!r} is no number of records: 50000, 1.17M, 1B")
    return round(float(match[1]) * _TIMES[match[2]])


@verb(
    "plan",
    "--profile single_gpu",
    "--profile paper_8xa100 --tokens-per-second 2500",
    "--records 1.17M --records 100M --records 1B --nodes 16",
    "--records 1M --assume rewrite=12.5 --assume price_in=0.15 --assume price_out=0.6",
)
@click.option(
    "--tokens-per-second",
    type=rate,
    metavar="N",
    help="training throughput of one process, for the hours (default: from the profile's runtime.tflops)",
)
@click.option(
    "--records", type=count, multiple=True, metavar="N", help="curation of N records instead; may be given again"
)
@click.option("--nodes", type=int, default=1, show_default=True, help="curation: nodes of the Ray cluster")
@click.option("--gpus-per-node", type=int, default=8, show_default=True, help="curation: GPUs of each")
@click.option(
    "--assume", multiple=True, metavar="NAME=VALUE", help="curation: what a record costs, as the table names it"
)
@as_json
@click.pass_obj
def plan(
    options: CommonOptions,
    tokens_per_second: float | None,
    records: Sequence[int],
    nodes: int,
    gpus_per_node: int,
    assume: Sequence[str],
    as_json: bool,
) -> None:
    """What a profile needs: parameters, memory, steps, hours, downloads; or what curation of N records takes.

    Loads and fetches nothing.
    """
    from polite_flamingo.model.settings import NONE

    params = options.load()
    if records:
        from polite_flamingo.params.changes import parse_changes
        from polite_flamingo.plan import curation
        from polite_flamingo.plan.costs import costs_of

        stated: dict[str, Any] = parse_changes(assume)
        forecast = curation.curation(records, costs_of(params, stated), nodes=nodes, gpus_per_node=gpus_per_node)
        show(forecast, curation.render, as_json)
        return
    if params.backbones.flamingo == NONE:
        hint = "`plan --records N` tells what curation takes"
        raise ConfigError("the profile names no base to train", value=NONE, where="backbones.flamingo", next_step=hint)
    from polite_flamingo.plan import page, training

    show(training.plan(params, tokens_per_second=tokens_per_second), page.render, as_json)
