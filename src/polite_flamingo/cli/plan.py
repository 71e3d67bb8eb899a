"""``plan``: what a profile would cost."""

from __future__ import annotations

import click

from polite_flamingo.cli.command import CommonOptions, rate, verb
from polite_flamingo.cli.options import as_json, show


@verb("plan", "--profile single_gpu", "--profile paper_8xa100 --tokens-per-second 2500")
@click.option(
    "--tokens-per-second",
    type=rate,
    metavar="N",
    help="training throughput of one process, for the hours (default: the profile's runtime.tokens_per_second)",
)
@as_json
@click.pass_obj
def plan(options: CommonOptions, tokens_per_second: float | None, as_json: bool) -> None:
    """What a profile needs: parameters, memory, steps, hours, downloads; loads and fetches nothing."""
    from polite_flamingo.plan import plan, render

    show(plan(options.load(), tokens_per_second=tokens_per_second), render, as_json)
