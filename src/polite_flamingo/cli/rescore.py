"""``rescore``: fresh scores of a PF-1M file beside the published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from polite_flamingo.cli.command import CommonOptions, verb
from polite_flamingo.cli.options import FILE, as_json, existing_file, model_origin, show
from polite_flamingo.environment import stay_offline

MODELS = {"sts": "sentence encoder", "nli": "NLI model", "clip": "CLIP", "reward": "reward model"}


def _model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, what in reversed(MODELS.items()):
        text = f"{what}: folder, or origin as in a profile (default: the profile's)"
        function = click.option(f"--{name}", metavar="MODEL", help=text)(function)
    return function


@verb("rescore", "pf1m.json", "pf1m.json --scorers sts,nli --nli hub:cross-encoder/nli-deberta-v3-base@COMMIT")
@click.argument("file", type=FILE, metavar="FILE", help="PF-1M JSON, or JSON Lines of such records")
@click.option(
    "--scorers",
    default="rouge,sts",
    metavar="LIST",
    help="some of rouge, sts, nli, clip, reward, with commas (default: rouge,sts)",
)
@_model_options
@as_json
@click.pass_obj
def rescore(options: CommonOptions, file: Path, scorers: str, as_json: bool, **models: str | None) -> None:
    """Score the records of a PF-1M file again, beside the published scores."""
    from polite_flamingo.evaluate.rescore import parse_scorers, render, rescore
    from polite_flamingo.scorers.load import SCORERS, scorer_folders

    params = options.load()
    names = parse_scorers(scorers)
    origins = {name: model_origin(name, model) if (model := models[name]) else None for name in SCORERS}
    existing_file(file, "FILE")
    stay_offline(params.runtime.threads, [origin or "" for origin in origins.values()])
    report = rescore(
        file,
        names,
        folders=scorer_folders(
            (name for name in names if name in SCORERS), origins, params.backbones.model_dump(), params.models
        ),
        image_root=params.image_root,
        clip_mode=params.score.clip_mode,
        device=params.runtime.device,
    )
    show(report, render, as_json)
