"""``study``: people judge answers or rewrites on a web page, and what they said is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, Verbs, count, positive, share, verb
from polite_flamingo.cli.options import FILE, as_json, existing_file, show
from polite_flamingo.errors import ConfigError

if TYPE_CHECKING:
    from polite_flamingo.params.schema import Params
    from polite_flamingo.records import Rewrite

FAMILY = "study"
REFUSED = 1  # exit status
ORIGINS = ("answers", "pf1m", "kept", "rejected")

study = Verbs(
    name=FAMILY,
    help="Ask people: draw samples, judge them on a web page, report what they say and how well they agree.",
)
study.short_help = "Ask people: draw samples, judge them on a web page, report"


@verb(
    "create",
    "people.sqlite --answers raw stage1 stage3 --annotators Anna Ben",
    "people.sqlite --answers mine=answers.jsonl theirs=FOLDER --quotas even --samples 100 --annotators Anna Ben",
    "release.sqlite --from kept --samples 200 --annotators Anna Ben",
    family=FAMILY,
)
@click.argument("file", type=FILE, metavar="FILE", help="the study; it must not be there yet")
@click.option(
    "--from",
    "origin",
    type=click.Choice(ORIGINS),
    default="answers",
    help="models' answers to evaluation samples (default), or rewrites of the filtering: all (pf1m), kept or rejected",
)
@click.option(
    "--answers",
    cls=SeveralValues,
    metavar="NAME[=PATH]",
    help="up to 9 models: a folder of data/PROFILE/answers, NAME=FOLDER like it, NAME=FILE as for evaluate-answers",
)
@click.option("--annotators", cls=SeveralValues, metavar="NAME", required=True, help="who judges")
@click.option("--samples", type=positive, default=600, metavar="N", help="how many (default: 600, the paper's)")
@click.option(
    "--quotas", default=None, metavar="Q", help="answers: paper (default), even, or SET=N,SET=N; shares of the samples"
)
@click.option(
    "--shared",
    type=count,
    metavar="N",
    help="samples that everybody judges, which alone tell agreement (default: all; 0 is the paper's way: each a part, "
    "checked by another in the second round)",
)
@click.option("--judge", is_flag=True, help="answers of files: score them by the profile's NLI and reward models")
@click.option("--title", metavar="TEXT", help="what the page shows")
@click.option("--guidelines", type=FILE, metavar="FILE", help="text shown to annotators (default: the paper's rules)")
@click.option("--seed", type=count, metavar="N", help="of draws and orders (default: the profile's)")
@as_json
@click.pass_obj
def create(
    options: CommonOptions,
    file: Path,
    origin: str,
    answers: tuple[str, ...],
    annotators: tuple[str, ...],
    samples: int,
    quotas: str | None,
    shared: int | None,
    judge: bool,
    title: str | None,
    guidelines: Path | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Draw samples and write a study: one file with images, answers without names, and a link for each annotator."""
    from polite_flamingo.study import pool as pools
    from polite_flamingo.study.create import StudyPlan
    from polite_flamingo.study.create import create as make
    from polite_flamingo.study.drawing import parse_quotas
    from polite_flamingo.study.forms import ANSWERS, REWRITES

    params = options.load()
    asked = origin == "answers"
    if not asked and quotas is not None:
        raise ConfigError("rewrites are drawn by stratum, not by quotas", value=quotas, where="--quotas")
    weights = parse_quotas(quotas or "paper") if asked else None
    sources = pools.parse_sources(answers, params.data / "answers")
    if asked:
        scorer = _judge(params) if judge else None
        pool = pools.of_answers(sources, params.data / "samples" / "evaluation", scorer)
    else:
        states = ("kept", "rejected") if origin == "pf1m" else (origin,)
        pool = pools.of_filtering(params.data / "pf1m", states, sources)
        weights = pools.stratum_weights(pool)
    plan = StudyPlan(
        ANSWERS if asked else REWRITES,
        annotators,
        title or ("Which answers are right?" if asked else "Are these rewrites right, polite and grounded?"),
        None if guidelines is None else _text(guidelines),
        samples,
        weights,
        shared,
        params.seed if seed is None else seed,
        origin,
    )
    show(make(file, plan, pool, params.image_root), _created, as_json)


@verb("serve", "people.sqlite", "people.sqlite --host 0.0.0.0 --name study.example.org", family=FAMILY)
@click.argument("file", type=FILE, metavar="FILE", help="the study")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: this machine alone)")
@click.option("--port", type=positive, default=8790, metavar="PORT", help="(default: 8790)")
@click.option(
    "--name", "names", cls=SeveralValues, metavar="HOST", help="names or addresses it answers to, beside localhost"
)
def serve(file: Path, host: str, port: int, names: tuple[str, ...]) -> None:
    """Serve the page and print every annotator's link; Ctrl-C stops, nothing is lost."""
    from polite_flamingo.study.server import LOCAL, links
    from polite_flamingo.study.server import serve as run
    from polite_flamingo.study.store import StudyFile

    existing_file(file, "FILE")
    opened = StudyFile(file)
    for name, link in links(opened, names[0] if names else host, port).items():
        print(f"{name}: {link}", flush=True)
    run(opened, host, port, (*LOCAL, host, *names))


@verb("report", "people.sqlite", "release.sqlite --gate 0.9 --labels labels.csv", family=FAMILY)
@click.argument("file", type=FILE, metavar="FILE", help="the study")
@click.option("--out", type=FILE, metavar="DIR", help="default: reports/PROFILE/study/NAME")
@click.option("--labels", type=FILE, metavar="CSV", help="rewrites: write labels for `calibrate --labels`")
@click.option(
    "--gate",
    "least",
    type=share,
    metavar="X",
    help="rewrites: exit status 1 unless this share of the kept ones is right and grounded (lower end of 95 %)",
)
@as_json
@click.pass_obj
def report(
    options: CommonOptions, file: Path, out: Path | None, labels: Path | None, least: float | None, as_json: bool
) -> int:
    """What people said: models beside each other, judges beside people, agreement; also while they are at it."""
    from polite_flamingo.io.text import write_json
    from polite_flamingo.study import report as reports
    from polite_flamingo.study.store import StudyFile
    from polite_flamingo.tracking import start_tracker
    from polite_flamingo.tracking.base import Work

    params = options.load()
    existing_file(file, "FILE")
    opened = StudyFile(file)
    measured, results = reports.measure(opened, resamples=params.evaluate.bootstrap_samples, seed=params.seed)
    held = least is None or reports.gate(measured, least)
    folder = out or params.reports / "study" / file.stem
    with start_tracker(params.runtime.tracking, Work("study", params.profile, {"study": measured["title"]})) as tracker:
        files = reports.write(opened, measured, results, folder, labels)
        if "kept" in measured.get("rewrites", {}):
            write_json(params.reports / "people.json", reports.for_the_card(measured))
        for path in files:
            tracker.artifact(path)
        tracker.metrics(reports.metrics(measured))
    show(measured, reports.render, as_json)
    return 0 if held else REFUSED


@verb("export", "people.sqlite label-studio --out team", "people.sqlite argilla --out team --judged", family=FAMILY)
@click.argument("file", type=FILE, metavar="FILE", help="the study")
@click.argument("format", metavar="FORMAT", help="label-studio or argilla")
@click.option("--out", type=FILE, required=True, metavar="DIR", help="folder that is made")
@click.option("--judged", is_flag=True, help="take along what was judged alone so far")
@click.option("--image-prefix", metavar="URL", help="label-studio: what stands before an image's file name")
def export(file: Path, format: str, out: Path, judged: bool, image_prefix: str | None) -> None:
    """The study for a team that judges in Label Studio or Argilla."""
    from polite_flamingo.study import interchange
    from polite_flamingo.study.store import StudyFile

    prefix = interchange.LOCAL_FILES if image_prefix is None else image_prefix
    number = interchange.export(StudyFile(file), format, out, judged=judged, prefix=prefix)
    print(f"{out}: {number} samples")


@verb("import", "people.sqlite label-studio export.json --who 7=Anna 8=Ben", family=FAMILY)
@click.argument("file", type=FILE, metavar="FILE", help="the study")
@click.argument("format", metavar="FORMAT", help="label-studio or argilla")
@click.argument("judged", type=FILE, metavar="JSON", help="Label Studio's JSON export, or Argilla's records.json")
@click.option("--who", cls=SeveralValues, metavar="ID=NAME", help="a person there and the annotator here")
def import_(file: Path, format: str, judged: Path, who: tuple[str, ...]) -> None:
    """What a team judged there, into the study: all of it or nothing, and never twice."""
    from polite_flamingo.study.interchange import import_judgements
    from polite_flamingo.study.store import StudyFile

    if wrong := [text for text in who if not all(text.partition("=")[::2])]:
        raise ConfigError("no pair of a person and an annotator", value=wrong, where="--who", next_step="ID=NAME")
    people = {person: name for person, _, name in (text.rpartition("=") for text in who)}
    new = import_judgements(StudyFile(file), format, existing_file(judged, "JSON"), people)
    print(f"{new} new clicks")


for _verb in (create, serve, report, export, import_):
    study.add_command(_verb)


def _judge(params: Params) -> Callable[[Sequence[Rewrite]], list[Rewrite]]:
    """Scores answers as the stage `evaluate` does."""
    from functools import partial

    from polite_flamingo.errors import ModelError
    from polite_flamingo.evaluate.answers import Judges
    from polite_flamingo.evaluate.answers import judge as score
    from polite_flamingo.scorers.nli import load_nli
    from polite_flamingo.scorers.reward import load_reward
    from polite_flamingo.scorers.sts import load_sts

    folders = {name: params.models / "backbones" / name for name in ("sts", "nli", "reward")}
    for folder in folders.values():
        if not folder.is_dir():
            raise ModelError("backbone is missing", where=folder, next_step="run `polite-flamingo backbones` first")
    device = params.runtime.device
    judges = Judges(
        sts=load_sts(folders["sts"], device=device),
        nli=load_nli(folders["nli"], device=device),
        reward=load_reward(folders["reward"], device=device),
    )
    return partial(score, judges=judges)


def _text(file: Path) -> str:
    try:
        return existing_file(file, "--guidelines").read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ConfigError("guidelines are not UTF-8", value=str(error), where=file) from None


def _created(report: dict[str, Any]) -> str:
    lines = [f"{report['file']}: {report['samples']} samples, {report['images']} images"]
    if report["samples"] < report["wanted"]:
        lines.append(f"  {report['wanted']} were wanted: there are no more")
    lines += [f"  {name}: {own['drawn']} of {own['there']}" for name, own in report["groups"].items()]
    if report["short_of"]:
        lines.append(f"  sets that are not there, their share went to the others: {', '.join(report['short_of'])}")
    for model, own in report.get("models", {}).items():
        odd = [f"{name.replace('_', ' ')} {number}" for name, number in own.items() if number and name != "answers"]
        lines += [f"  {model}: {own['answers']} answers, {', '.join(odd)}"] if odd else []
    if report["left_out_for_their_images"]:
        broken = report["left_out_for_their_images"]
        lines.append(f"  {len(broken)} left out for their images, e.g. {broken[0]}")
    lines += [f"  {name} judges {number}" for name, number in report["annotators"].items()]
    return "\n".join([*lines, f"next: polite-flamingo study serve {report['file']}"])
