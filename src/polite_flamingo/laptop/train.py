"""Train the small real models for photographs: ``python -m polite_flamingo.laptop.train PART --data-root DIR``."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from polite_flamingo.laptop.judges import VERBS

LOG = logging.getLogger(__name__)


@click.group()
def main() -> None:
    """Train the small real models for photographs, each part resumable after a kill."""
    import torch

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_float32_matmul_precision("high")


for verb in VERBS:
    main.add_command(verb)


def shared(command: Any) -> Any:
    """The options that every part has."""
    folder = click.Path(file_okay=False, path_type=Path)
    for option in (
        click.option("--data-root", type=folder, required=True, help="Folder that holds coco/, flickr8k/ …"),
        click.option("--out", type=folder, default=Path("models/laptop"), help="Where weights and figures go."),
        click.option("--work", type=folder, default=Path(".work/laptop"), help="Features and checkpoints."),
        click.option("--device", default="cpu", help="cpu or cuda."),
    ):
        command = option(command)
    return command


def trained(command: Any) -> Any:
    """The options of the parts that train a Flamingo."""
    for option in (
        click.option("--epochs", type=int, default=None, help="Passes over the texts."),
        click.option("--batch", type=int, default=None, help="Texts per step."),
        click.option("--learning-rate", type=float, default=None, help="Peak learning rate."),
        click.option("--most", type=int, default=None, help="Texts of an epoch at most."),
        click.option("--measured", type=int, default=None, help="Held-out texts of a kind that are measured, at most."),
        click.option("--steps", type=int, default=None, help="Stop after so many steps."),
    ):
        command = option(command)
    return command


@main.command()
@shared
def features(data_root: Path, out: Path, work: Path, device: str) -> None:
    """Fit the tower's projection and encode all photographs."""
    from polite_flamingo.laptop.connector import load_photographs

    _, photographs = load_photographs(data_root, work, device)
    LOG.info("%d photographs, %d rows", len(photographs.rows), len(photographs.features))


@main.command()
@shared
@trained
def connector(data_root: Path, out: Path, work: Path, device: str, **options: Any) -> None:
    """Train perceiver and gated cross-attention on captions, questions and statements."""
    from polite_flamingo.laptop.connector import train_connector
    from polite_flamingo.laptop.fit import FitRecipe

    recipe = FitRecipe(epochs=2, batch=32, learning_rate=1e-3, save_every=50)
    train_connector(data_root, work, out, device=device, recipe=_recipe(recipe, options))


@main.command()
@shared
@trained
@click.option("--text-only", is_flag=True, help="Stop before the pictures, for which the connector must be there.")
def rewriter(data_root: Path, out: Path, work: Path, device: str, text_only: bool, **options: Any) -> None:
    """Train the rewriter's LoRA, first on texts alone, then on the connector of `--out`."""
    from polite_flamingo.laptop.fit import FitRecipe
    from polite_flamingo.laptop.rewriter import train_rewriter, train_text

    text = _recipe(
        FitRecipe(
            epochs=1, batch=16, learning_rate=1e-3, longest=200, most=9000, steps=400, save_every=50, measured=200
        ),
        options,
    )
    if text_only:
        train_text(data_root, work, device=device, recipe=text)
        return
    recipe = replace(text, learning_rate=text.learning_rate / 2, longest=320, most=text.most // 4, steps=0)
    train_rewriter(data_root, work, out, device=device, text=text, recipe=recipe)


def _recipe(recipe: Any, options: dict[str, Any]) -> Any:
    return replace(recipe, **{name: value for name, value in options.items() if value})


if __name__ == "__main__":
    main()
