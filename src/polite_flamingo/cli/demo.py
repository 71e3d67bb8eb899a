"""``demo``: the rewriter and the assistants on a web page of this machine."""

from __future__ import annotations

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, count, positive, verb

ASSISTANTS = ("stage1", "stage2", "stage3", "raw")


@verb("demo", "", "--profile packaged", "--assistants stage3 raw hf:models/mine --port 9000")
@click.option("--model", metavar="NAME", help="the rewriter (default: the profile's)")
@click.option(
    "--assistants", cls=SeveralValues, default=ASSISTANTS, metavar="NAME",
    help="who is asked (default: stage1 stage2 stage3 raw)",
)  # fmt: skip
@click.option("--examples", type=count, default=12, metavar="N", help="records of the data to begin with (default: 12)")
@click.option("--seed", type=count, metavar="N", help="of their draw (default: the profile's)")
@click.option("--port", type=positive, default=8791, metavar="PORT", help="(default: 8791)")
@click.pass_obj
def demo(
    options: CommonOptions, model: str | None, assistants: tuple[str, ...], examples: int, seed: int | None, port: int
) -> None:
    """Open a page to rewrite terse answers, and to talk to all tuned assistants at once; Ctrl-C stops.

    It listens on this machine alone. Models are loaded when they are first asked.
    """
    from polite_flamingo.demo import server

    params = options.load()
    listening = server.listen(port)
    with listening, server.uploads() as folder:
        from polite_flamingo.demo.page import DemoPage
        from polite_flamingo.demo.parts import parts_of

        parts = parts_of(
            params, options.params_file, model, assistants,
            copies=folder, number=examples, seed=params.seed if seed is None else seed,
        )  # fmt: skip
        page = DemoPage(parts).blocks()
        app = server.application(page, folder)
        print(f"http://{server.HOST}:{port}/ (Ctrl-C stops)", flush=True)
        server.PageServer(app, page).run([listening])
