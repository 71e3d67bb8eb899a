"""``demo``: the rewriter and the assistants on a web page of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, count, positive, verb

if TYPE_CHECKING:
    from pathlib import Path

    from polite_flamingo.demo.page import DemoParts
    from polite_flamingo.params import Params

TITLES = {"stage1": "stage 1", "stage2": "stage 2", "stage3": "stage 3", "raw": "tuned on raw annotations"}


@verb("demo", "", "--profile packaged --model laptop", "--assistants stage3 raw hf:models/mine --port 9000")
@click.option("--model", default="rewriter", metavar="NAME", help="the rewriter (default: rewriter, the profile's)")
@click.option(
    "--assistants", cls=SeveralValues, default=tuple(TITLES), metavar="NAME",
    help="who is asked (default: stage1 stage2 stage3 raw)",
)  # fmt: skip
@click.option("--examples", type=count, default=12, metavar="N", help="records of the data to begin with (default: 12)")
@click.option("--seed", type=count, metavar="N", help="of their draw (default: the profile's)")
@click.option("--port", type=positive, default=8791, metavar="PORT", help="(default: 8791)")
@click.pass_obj
def demo(
    options: CommonOptions, model: str, assistants: tuple[str, ...], examples: int, seed: int | None, port: int
) -> None:
    """Open a page to rewrite terse answers, and to talk to all tuned assistants at once; Ctrl-C stops.

    It listens on this machine alone. Models are loaded when they are first asked.
    """
    from polite_flamingo.demo import server

    params = options.load()
    listening = server.listen(port)
    with listening, server.uploads() as folder:
        from polite_flamingo.demo.page import DemoPage

        parts = _parts(params, model, assistants, folder, examples, params.seed if seed is None else seed)
        page = DemoPage(parts).blocks()
        app = server.application(page, folder)
        print(f"http://{server.HOST}:{port}/ (Ctrl-C stops)", flush=True)
        server.PageServer(app, page).run([listening])


def _parts(
    params: Params, model: str, assistants: tuple[str, ...], folder: Path, examples: int, seed: int
) -> DemoParts:
    """The page's parts; an error where there is nothing at all to show."""
    from polite_flamingo.demo.examples import draw_examples
    from polite_flamingo.demo.page import DemoParts, OnFirstUse
    from polite_flamingo.errors import DataError
    from polite_flamingo.talk.assistant import Assistant
    from polite_flamingo.talk.models import find_model
    from polite_flamingo.talk.rewriter import Rewriter

    def drawn(role: str) -> Any:
        return draw_examples(params.data / "samples" / role, params.image_root, folder, number=examples, seed=seed)

    where: dict[str, Any] = {"profile": params.profile, "device": params.runtime.device}
    try:
        annotated, asked = drawn("annotation"), drawn("evaluation")
    except DataError:
        find_model(model, "rewriter", profile=params.profile)
        annotated = asked = []
    return DemoParts(
        f"Profile {params.profile}",
        OnFirstUse("rewriter", lambda: Rewriter.load(model, **where)),
        [OnFirstUse(TITLES.get(name, name), lambda name=name: Assistant.load(name, **where)) for name in assistants],
        annotated,
        asked,
        seed,
    )
