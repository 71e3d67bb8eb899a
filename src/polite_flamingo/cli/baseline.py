"""``accept-baseline``: the run whose data later runs are compared with."""

from __future__ import annotations

import click

from polite_flamingo.cli.command import CommonOptions, verb


@verb("accept-baseline", "", "--profile laptop")
@click.pass_obj
def accept_baseline(options: CommonOptions) -> None:
    """Make what the gates saw last the data that later runs are compared with.

    Writes configs/baselines/PROFILE.json; commit it. The next run checks the gates again, which takes seconds.
    """
    from polite_flamingo.quality.baseline import accept

    params = options.load()
    path, records = accept(params.profile, params.reports)
    counted = ", ".join(f"{count} records at check_{gate}" for gate, count in records.items())
    print(f"{path}: {counted}; commit it")
