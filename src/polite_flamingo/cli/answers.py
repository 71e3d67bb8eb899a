"""``evaluate-answers``: files of answers of any models beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from polite_flamingo.cli.command import CommonOptions, SeveralValues, count, positive, verb
from polite_flamingo.cli.options import FILE, as_json, model_origin, show
from polite_flamingo.environment import stay_offline

if TYPE_CHECKING:
    from polite_flamingo.benchmarks.judges import KeptJudge

FOLDER = click.Path(path_type=Path, file_okay=False)
JUDGES = {"nli": "NLI judge", "sts": "sentence encoder", "reward": "reward model"}


@verb(
    "evaluate-answers",
    "llava.jsonl blip=instructblip.jsonl --data coco_pope_adversarial.json coco_pope_random.json",
    "answers.jsonl --data problems.json pid_splits.json --split test --json",
    "a.jsonl b.jsonl --data TextVQA_0.5.1_val.json --nli laptop --reward laptop --sts packaged",
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
@click.option("--resamples", type=positive, default=1000, metavar="N", help="bootstrap resamples (default: 1000)")
@click.option("--seed", type=count, default=0, metavar="N", help="of the resamples (default: 0)")
@click.option("--out", type=FILE, metavar="FILE", help="JSON file that gets the report")
@click.option("--scores", type=FOLDER, default=Path(".work/scores"), metavar="DIR", help="kept scores of the judges")
@as_json
@click.pass_obj
def evaluate_answers(
    options: CommonOptions,
    files: tuple[str, ...],
    data: tuple[Path, ...],
    split: str | None,
    resamples: int,
    seed: int,
    out: Path | None,
    scores: Path,
    as_json: bool,
    **judges: str | None,
) -> None:
    """Measure files of answers against the questions they answer."""
    from polite_flamingo.benchmarks.answer_files import parse_files
    from polite_flamingo.benchmarks.data import data_of, read_data
    from polite_flamingo.benchmarks.evaluation import evaluate
    from polite_flamingo.benchmarks.figures import Draws, report
    from polite_flamingo.benchmarks.tables import render
    from polite_flamingo.io import write_json

    answers = parse_files(files)
    sets = read_data(data, split) if data else data_of(answers)
    told = report(evaluate(answers, sets, _judges(judges, scores, options.device or "auto")), Draws(resamples, seed))
    if out is not None:
        write_json(out, told)
    show(told, render, as_json)


def _judges(named: dict[str, str | None], store: Path, device: str) -> dict[str, KeptJudge]:
    """The judges that were named, their models put in place."""
    from polite_flamingo.benchmarks.judges import KeptJudge
    from polite_flamingo.scorers.load import scorer_folders

    origins = {name: model_origin(name, model) for name, model in named.items() if model and model != "none"}
    stay_offline(2, list(origins.values()))
    folders = scorer_folders(origins, origins, {}, Path("models"))
    return {name: KeptJudge(name, folder, store, device) for name, folder in folders.items()}
