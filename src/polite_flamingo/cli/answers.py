"""``evaluate-answers``: files of answers of any models beside each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, count, positive, verb
from polite_flamingo.cli.options import FILE, as_json, existing_file, model_origin, show
from polite_flamingo.environment import TRACKING_VARIABLE, stay_offline
from polite_flamingo.errors import ConfigError

if TYPE_CHECKING:
    from polite_flamingo.benchmarks.items import QuestionSet
    from polite_flamingo.benchmarks.judges import KeptJudge

FOLDER = click.Path(path_type=Path, file_okay=False)
JUDGES = {"nli": "NLI judge", "sts": "sentence encoder", "reward": "reward model"}


@verb(
    "evaluate-answers",
    "llava.jsonl blip=instructblip.jsonl --data coco_pope_adversarial.json coco_pope_random.json",
    "answers.jsonl --data problems.json pid_splits.json --split test --json",
    "a.jsonl b.jsonl --data TextVQA_0.5.1_val.json --nli laptop --reward laptop --sts packaged --out answers",
)
@click.argument(
    "files", nargs=-1, required=True, metavar="[MODEL=]FILE...", help="files of answers; seeds share a MODEL"
)
@click.option(
    "--data",
    "data",
    type=FILE,
    cls=SeveralValues,
    metavar="FILE...",
    help="what they answer: question and annotation files (default: what sample logs hold)",
)
@click.option("--split", metavar="NAME", help="split, where the data has several (default: all; of ScienceQA test)")
@click.option("--nli", metavar="MODEL", help="NLI judge: folder, laptop, packaged, hub:<id>@<commit> (default: none)")
@click.option("--sts", metavar="MODEL", help="sentence encoder, likewise")
@click.option("--reward", metavar="MODEL", help="reward model, likewise")
@click.option(
    "--trained-on",
    type=FILE,
    cls=SeveralValues,
    metavar="FILE...",
    help="training data: which questions and images were seen?",
)
@click.option("--images", type=FOLDER, metavar="DIR", help="images of the questions, for the page and to be compared")
@click.option(
    "--trained-images", type=FOLDER, metavar="DIR", help="images of the training, compared by bytes and likeness"
)
@click.option("--beside", type=FILE, metavar="FILE", help="evaluate.json of a pipeline, whose stages join the tax plot")
@click.option("--resamples", type=positive, default=1000, metavar="N", help="bootstrap resamples (default: 1000)")
@click.option("--seed", type=count, default=0, metavar="N", help="of the resamples (default: 0)")
@click.option("--out", type=FOLDER, metavar="DIR", help="folder that gets report.json, page.html and the plots")
@click.option("--scores", type=FOLDER, default=Path(".work/scores"), metavar="DIR", help="kept scores of the judges")
@as_json
@click.pass_obj
def evaluate_answers(
    options: CommonOptions, files: tuple[str, ...], data: tuple[Path, ...], as_json: bool, **given: Any
) -> None:
    """Measure files of answers against the questions they answer.

    With --out the report is written as JSON and as a page with its plots, and recorded by MLflow where
    MLFLOW_TRACKING_URI names a store.
    """
    from polite_flamingo.benchmarks.answer_files import parse_files
    from polite_flamingo.benchmarks.data import data_of, read_data, refuse_questions
    from polite_flamingo.benchmarks.evaluation import evaluate
    from polite_flamingo.benchmarks.figures import Draws, report
    from polite_flamingo.benchmarks.tables import render

    answers = parse_files(files)
    refuse_questions(answers, data)
    sets = read_data(data, given["split"]) if data else data_of(answers)
    _mark_seen(sets, given["trained_on"], given["images"], given["trained_images"])
    judges = _judges({name: given[name] for name in JUDGES}, given["scores"], options.device or "auto")
    done = evaluate(answers, sets, judges)
    told = report(done, Draws(given["resamples"], given["seed"]))
    told["judges"] = {name: {"model": given[name], "weights": judge.identity} for name, judge in judges.items()}
    if given["out"] is not None:
        _write(given["out"], told, done.disagreements.worst(), given["images"], given["beside"])
    show(told, render, as_json)


@verb(
    "answer-questions",
    "openai:http://localhost:8000/v1#llava-1.5 --data coco_pope_random.json --images val2014 --out llava.jsonl",
    "hf:models/my-vlm --data TextVQA_0.5.1_val.json --images train_images --out mine.jsonl --device cuda",
)
@click.argument("backend", metavar="BACKEND", help="hf:<folder or id@revision> or openai:<base url>#<model>")
@click.option(
    "--data", "data", type=FILE, cls=SeveralValues, required=True, metavar="FILE...", help="question files of one set"
)
@click.option(
    "--images", type=FOLDER, required=True, metavar="DIR", help="their images, found by name anywhere below it"
)
@click.option("--split", metavar="NAME", help="split, where the data has several")
@click.option("--max-new-tokens", type=positive, default=128, metavar="N", help="length of an answer (default: 128)")
@click.option("--seed", type=count, metavar="N", help="sample with this seed (default: greedy)")
@click.option("--out", type=FILE, required=True, metavar="FILE", help="JSON Lines file that gets the answers")
@as_json
@click.pass_obj
def answer_questions(
    options: CommonOptions, backend: str, data: tuple[Path, ...], images: Path, out: Path, as_json: bool, **given: Any
) -> None:
    """Have a model answer the questions of a set; killed, the same command goes on."""
    from polite_flamingo.benchmarks.asking import ask_questions
    from polite_flamingo.benchmarks.data import read_data
    from polite_flamingo.io.hashes import fingerprint
    from polite_flamingo.jobs.backends.load import ANSWERS, BackendOptions
    from polite_flamingo.jobs.settings import TextMachineSettings
    from polite_flamingo.model.settings import GenerationSettings

    sets = read_data(data, given["split"])
    if len(sets) != 1:
        raise ConfigError("one set at a time is answered", value=[own.name for own in sets], where="--data")
    stay_offline(2, [f"hub:{backend}" if "@" in backend else backend])
    settings = GenerationSettings(
        max_new_tokens=given["max_new_tokens"],
        num_beams=1,
        do_sample=given["seed"] is not None,
        seed=given["seed"] or 0,
    )
    machine = TextMachineSettings(device=options.device or "auto")
    made = BackendOptions(images.resolve(), machine, cache=ANSWERS.resolve())
    journal = Path(".work") / "answers-of-models" / fingerprint(backend, sets[0].name, settings.model_dump(), *data)
    counts = ask_questions(sets[0], backend, settings, made, out, journal)
    show(counts, lambda told: ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in told.items()), as_json)


@verb("tax-meter", "reports/tiny/evaluate.json", "reports/tiny/evaluate.json answers/report.json --out tax.png")
@click.argument(
    "reports",
    nargs=-1,
    required=True,
    type=FILE,
    metavar="REPORT...",
    help="evaluate.json, or report.json of evaluate-answers",
)
@click.option("--out", type=FILE, default=Path("tax.png"), metavar="FILE", help="PNG file (default: tax.png)")
@as_json
def tax_meter(reports: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Draw understanding against politeness of every model of some reports."""
    from polite_flamingo.benchmarks.plots import tax_plot, tax_points
    from polite_flamingo.errors import DataError

    points = {name: point for path in reports for name, point in tax_points(existing_file(path, "REPORT")).items()}
    if not points:
        raise DataError(
            "no model has both accuracy and reward", where=reports[0], next_step="judge with --nli and --reward"
        )
    tax_plot(out, points)
    show(points, _tax_table, as_json)


def _tax_table(points: dict[str, Any]) -> str:
    def cell(figure: dict[str, float], form: str) -> str:
        return f"{figure['value']:{form}} ({figure['low']:{form}} to {figure['high']:{form}})"

    width = max(map(len, points))
    head = f"{'':{width}}  {'understanding':>26}  {'politeness':>24}"
    rows = [
        f"{name:{width}}  {cell(one['understanding'], '.1%'):>26}  {cell(one['politeness'], '.2f'):>24}"
        for name, one in points.items()
    ]
    return "\n".join([head, *rows])


def _mark_seen(sets: list[QuestionSet], trained: tuple[Path, ...], images: Path | None, pictures: Path | None) -> None:
    """Tell of every question whether it was seen in training."""
    from polite_flamingo.benchmarks.contamination import find_images, find_seen, read_training

    if pictures is not None and images is None:
        raise ConfigError(
            "images of the training are compared with those of the questions", next_step="give --images too"
        )
    found = find_seen(sets, read_training(trained)) if trained else {}
    by_picture = find_images(sets, images, pictures) if images is not None and pictures is not None else {}
    for own in sets:
        own.seen = {**found.get(own.name, {}), **by_picture.get(own.name, {})}


def _write(
    out: Path, told: dict[str, Any], worst: list[dict[str, Any]], images: Path | None, beside: Path | None
) -> None:
    """Report, plots and page; the same figures to MLflow, if a store is named."""
    from polite_flamingo.benchmarks.plots import draw_all, tax_points
    from polite_flamingo.benchmarks.tables import metrics, rows
    from polite_flamingo.io.text import write_json
    from polite_flamingo.reports.answers.page import write_page
    from polite_flamingo.tracking import start_tracker
    from polite_flamingo.tracking.base import Work

    points = tax_points(existing_file(beside, "--beside")) if beside is not None else None
    write_json(out / "report.json", {**told, "disagreements": worst})
    pictures = draw_all(out, told, points)
    write_page(out / "page.html", told, pictures, worst, images)
    kind = "mlflow" if os.environ.get(TRACKING_VARIABLE) else "none"
    with start_tracker(kind, Work("evaluate_answers", "answers", {"judges": told["judges"]})) as tracker:
        tracker.metrics(metrics(told))
        tracker.table("figures.json", rows(told))
        for path in (out / "report.json", out / "page.html", *pictures.values()):
            tracker.artifact(path)


def _judges(named: dict[str, str | None], store: Path, device: str) -> dict[str, KeptJudge]:
    """The judges that were named, their models put in place."""
    from polite_flamingo.benchmarks.judges import KeptJudge
    from polite_flamingo.scorers.load import scorer_folders

    origins = {name: model_origin(name, model) for name, model in named.items() if model and model != "none"}
    stay_offline(2, list(origins.values()))
    folders = scorer_folders(origins, origins, {}, Path("models"))
    return {name: KeptJudge(name, folder, store, device) for name, folder in folders.items()}
