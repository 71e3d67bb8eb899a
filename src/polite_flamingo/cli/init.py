"""``init``: a project of one's own from a folder of data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polite_flamingo.cli.command import verb
from polite_flamingo.cli.options import FILE
from polite_flamingo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polite_flamingo.start.tables import Found

SHOWN = 12  # lines of files


@verb(
    "init",
    "photos",
    "photos --rewriter openai:http://localhost:8000/v1#my-model --yes",
    "photos --rewriter laptop --scorers laptop",
    "questions.csv --column answer=label --name birds",
)
@click.argument("data", type=FILE, nargs=-1, metavar="[DATA ...]", help="folders or tables to rewrite (default: .)")
@click.option(
    "--rewriter",
    metavar="MODEL",
    help="openai:URL#MODEL, hf:FOLDER, hf:ID@REVISION, laptop, flamingo (docs/backends.md)",
)
@click.option(
    "--instruction", type=FILE, multiple=True, metavar="DATA", help="good responses, for a rewriter that is trained"
)
@click.option(
    "--scorers",
    type=click.Choice(("none", "laptop", "paper")),
    default="none",
    help="judges: none, small ones for photographs (docs/laptop.md), or the paper's from the hub",
)
@click.option(
    "--column", "columns", multiple=True, metavar="PART=NAME", help="of a table: answer, question, image, id or split"
)
@click.option("--licence", metavar="TEXT", default="not stated", help="of the annotations in tables")
@click.option("--name", metavar="NAME", help="of the profile (default: that of the first folder)")
@click.option("--flows", is_flag=True, help="bring the Prefect flows and their deployments as well")
@click.option("--yes", is_flag=True, help="ask nothing")
def init(
    data: tuple[Path, ...],
    rewriter: str | None,
    instruction: tuple[Path, ...],
    scorers: str,
    columns: tuple[str, ...],
    licence: str,
    name: str | None,
    flows: bool,
    yes: bool,
) -> None:
    """Make a project here: look what lies in DATA, write a profile that fits, the pipeline, git and DVC."""
    from polite_flamingo.launch.pipeline_run import require_backend
    from polite_flamingo.launch.project import profile_of
    from polite_flamingo.start.profile import Choices, render_profile
    from polite_flamingo.start.project import PARAMS, new_profile, not_ignored, write_project

    named = _columns(columns)
    data = data or (Path(),)
    profile = name or re.sub(r"[^a-z0-9]+", "_", data[0].absolute().stem.lower()).strip("_") or "mine"
    new_profile(Path(), profile)
    if rewriter:
        require_backend(rewriter, "--rewriter")
    found = [(item, "annotation") for path in data for item in _recognise(path, named, yes)]
    found += [(item, "instruction") for path in instruction for item in _recognise(path, named, yes)]
    to_do = _show([item for item, _ in found])
    rewriter = rewriter or _rewriter(yes)
    require_backend(rewriter, "rewriter")
    text = render_profile(Choices(found, rewriter, scorers, licence), Path())
    print(f"\nconfigs/profiles/{profile}.yaml:\n")
    print("".join(f"  {line}\n" for line in text.splitlines()))
    if not yes and not click.confirm("Write it, and what a project needs besides?", default=True):
        print("nothing was written")
        return
    params, written = write_project(Path(), profile, text, flows=flows)
    problems = params.contradictions()
    print(f"wrote {', '.join(written[:SHOWN])}{' …' if len(written) > SHOWN else ''}")
    print(f"stages: {' -> '.join(params.stages)}")
    for line in (*to_do, *(f"to do: {problem}" for problem in problems)):
        print(line)
    if absent := not_ignored(Path(), profile):
        print(f"to do: .gitignore was there and stays as it is; it lacks, a line each: {' '.join(absent)}")
    other = "" if profile_of(PARAMS) == profile else f" --profile {profile}"
    first = "what is to do; then " if to_do or problems else ""
    print(f"\nnext: {first}polite-flamingo preview{other}, then polite-flamingo run{other}")


def _recognise(path: Path, named: dict[str, str], yes: bool) -> list[Found]:
    """What lies there; a person is asked which column holds the answers, where their names do not tell."""
    from polite_flamingo.start.columns import NoAnswersError
    from polite_flamingo.start.recognise import recognise

    try:
        return recognise(path, named)
    except NoAnswersError as error:
        if yes or "answer" in named:
            raise
        known = list(map(str, error.value)) if isinstance(error.value, list) else []
    print(f"{path}: columns {', '.join(known)}")
    answer = click.prompt("Which one holds the answers?", type=click.Choice(known))
    question = click.prompt("Which one the questions?", type=click.Choice([*known, "none"]), default="none")
    return recognise(path, {**named, "answer": answer, **({} if question == "none" else {"question": question})})


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    from polite_flamingo.start.columns import PARTS

    named = {}
    for pair in pairs:
        part, equals, column = pair.partition("=")
        if part not in PARTS or not equals:
            hint = f"PART=NAME with PART one of {', '.join(PARTS)}"
            raise ConfigError("no column is named so", value=pair, where="--column", next_step=hint)
        named[part] = column
    return named


def _show(found: Sequence[Found]) -> list[str]:
    """Print what was found; returns what is to be done before anything goes on."""
    from polite_flamingo.quality.settings import QualitySettings
    from polite_flamingo.start.recognise import TO_DO, first_look

    to_do = []
    for item in found:
        print(f"{item.folder.name}/ ({item.reader}): {item.what}")
        if item.splits != ("all",):
            print(f"  splits: {', '.join(item.splits)}")
        for note in first_look(item, QualitySettings().max_rejected_share):
            print(f"  {note.removeprefix(TO_DO)}")
            to_do += [note] if note.startswith(TO_DO) else []
    return to_do


def _rewriter(yes: bool) -> str:
    """What nobody but the user knows."""
    forms = (
        "openai:URL#MODEL (vLLM, llama.cpp, a vendor), hf:FOLDER, hf:ID@REVISION, laptop (comes along, for "
        "photographs), or flamingo (trained here)"
    )
    if yes:
        raise ConfigError("nobody is named to rewrite", where="--rewriter", next_step=forms)
    print(f"\nWho rewrites? {forms}")
    return str(click.prompt("rewriter"))
