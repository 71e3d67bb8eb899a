"""``models``: versions of the rewriter and the assistant in MLflow's registry, and which one is the champion."""

from __future__ import annotations

from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, Verbs, positive, verb
from polite_flamingo.cli.options import as_json, show

FAMILY = "models"
KIND = click.Choice(("rewriter", "assistant"))
REFUSED = 1  # exit status

models = Verbs(
    name=FAMILY,
    help="Versions of rewriter and assistant in MLflow's registry: register, compare, promote, roll back.\n\n"
    "`MLFLOW_TRACKING_URI` names the server; without it the project's own mlflow.db has the registry.",
)
models.short_help = "Versions of the models in MLflow's registry: register, list, promote, roll back"


@verb("register", "", "assistant --stage stage2", family=FAMILY)
@click.argument("kind", type=KIND, required=False, metavar="[MODEL]", help="rewriter or assistant (default: both)")
@click.option("--stage", metavar="NAME", help="which assistant: stage3 (default), stage2, stage1 or raw")
@click.pass_obj
def register(options: CommonOptions, kind: str | None, stage: str | None) -> None:
    """Make the trained models versions, unless they are; ends of runs do it by themselves."""
    from polite_flamingo.launch import registration
    from polite_flamingo.registry.kinds import KINDS
    from polite_flamingo.tracking.registry import answering_store

    params = options.load()
    for chosen in (KINDS[kind],) if kind else KINDS.values():
        with answering_store():
            made, new = registration.register(params, chosen, stage if chosen.name == "assistant" else None)
        print(f"{made.name} version {made.number}{'' if new else ' (it was registered already)'}")


@verb("list", "", "--json", family=FAMILY)
@as_json
def list_versions(as_json: bool) -> None:
    """Versions with their aliases, where they come from and their figures."""
    from polite_flamingo.launch import registration
    from polite_flamingo.tracking.registry import answering_store

    with answering_store():
        report = registration.listing()
    show(report, _table, as_json)


@verb("promote", "assistant", 'rewriter --version 3 --force "hotfix of the licence text"', family=FAMILY)
@click.argument("kind", type=KIND, metavar="MODEL", help="rewriter or assistant")
@click.option("--version", "number", type=positive, metavar="N", help="which version (default: the challenger)")
@click.option("--force", "reason", metavar="REASON", help="promote whatever the gate says; the reason becomes a tag")
@click.pass_obj
def promote(options: CommonOptions, kind: str, number: int | None, reason: str | None) -> int:
    """Make a version the champion, if no figure is shown to be worse than the present champion's.

    The exit status is 1 where the gate refuses.
    """
    from polite_flamingo.launch import registration
    from polite_flamingo.registry.kinds import KINDS
    from polite_flamingo.tracking.registry import answering_store

    params = options.load()
    with answering_store():
        outcome = registration.promote(params, KINDS[kind], number, reason)
    print(outcome.text)
    return 0 if outcome.promoted else REFUSED


@verb("rollback", 'assistant --reason "answers too long"', family=FAMILY)
@click.argument("kind", type=KIND, metavar="MODEL", help="rewriter or assistant")
@click.option("--reason", required=True, metavar="TEXT", help="why; becomes a tag of the version that goes")
def rollback(kind: str, reason: str) -> None:
    """Make the champion before this one champion again."""
    from polite_flamingo.launch import registration
    from polite_flamingo.registry.kinds import KINDS
    from polite_flamingo.tracking.registry import answering_store

    with answering_store():
        text = registration.roll_back(KINDS[kind], reason)
    print(text)


for _verb in (register, list_versions, promote, rollback):
    models.add_command(_verb)


def _table(report: dict[str, list[dict[str, Any]]]) -> str:
    lines = []
    for name, versions in report.items():
        lines.append(name if versions else f"{name}: no version")
        for made in versions:
            figures = ", ".join(f"{figure} {value}" for figure, value in made["figures"].items())
            marks = [*made["aliases"], *(["rolled back"] if made["rolled_back"] else [])]
            lines.append(
                f"  {made['version']:>3}  {', '.join(marks) or '-':<22}{made['profile']} {made['trained']}, "
                f"commit {made['commit'][:8] or 'unknown'}\n       {figures}"
            )
    return "\n".join(lines)
