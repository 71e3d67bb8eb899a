"""The laptop's judges as verbs of ``python -m polite_flamingo.laptop.train``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.laptop.adapters import AdapterRecipe

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
MEASURED = Path("reports/shipped.json")  # by `measure`
NLI = AdapterRecipe()
REWARD = AdapterRecipe(rank=8, max_tokens=160, epochs=1, batch=32)


def options(command: Any) -> Any:
    """The options of a judge's training."""
    for option in (
        click.option("--data-root", type=FOLDER, required=True, help="Folder that holds photos/."),
        click.option("--out", type=FOLDER, default=Path("models/laptop"), help="Where weights and figures go."),
        click.option("--work", type=FOLDER, default=Path(".work/laptop"), help="Where checkpoints lie."),
        click.option("--device", default="cpu", help="cpu or cuda."),
        click.option("--threads", type=int, default=2, help="On a CPU."),
        click.option("--base", type=FOLDER, default=None, help="The sentence encoder, if not from its packages."),
        click.option("--origin", default=None, help="Where the sentence encoder comes from."),
        click.option("--epochs", type=int, default=None, help="Passes over the texts."),
        click.option("--batch", type=int, default=None, help="Examples per step."),
        click.option("--learning-rate", type=float, default=None, help="Peak learning rate."),
        click.option("--rank", type=int, default=None, help="Of the adapters."),
        click.option("--steps", type=int, default=None, help="Stop after so many steps, for a try."),
    ):
        command = option(command)
    return command


@click.command()
@options
def nli(**given: Any) -> None:
    """Train the NLI judge on e-SNLI, e-SNLI-VE, SICK and question statements."""
    from polite_flamingo.laptop.nli import train_nli

    _train(train_nli, NLI, **given)


@click.command()
@options
def reward(**given: Any) -> None:
    """Train the reward model on preferences of people and on full answers against terse ones."""
    from polite_flamingo.laptop.reward import train_reward

    _train(train_reward, REWARD, **given)


@click.command("image-text")
@options
def image_text(**given: Any) -> None:
    """Train the image-text scorer on captions."""
    from polite_flamingo.laptop.image_text import ContrastiveRecipe, train_image_text

    del given["rank"], given["epochs"]
    _train(train_image_text, ContrastiveRecipe(), **given)


def _train(
    train: Callable[..., dict[str, Any]],
    recipe: Any,
    *,
    data_root: Path,
    out: Path,
    work: Path,
    device: str,
    threads: int,
    base: Path | None,
    origin: str | None,
    **changed: Any,
) -> None:
    import torch

    torch.set_num_threads(threads)
    changes = {name: value for name, value in (changed | {"base": origin}).items() if value is not None}
    train(data_root, out, work, device=device, recipe=replace(recipe, **changes), base=base)


@click.command("ship")
@click.option("--out", type=FOLDER, default=Path("models/laptop"), help="Where the trained models lie.")
@click.option("--work", type=FOLDER, default=Path(".work/laptop"), help="Where the tower's projection was fitted.")
def ship_models(out: Path, work: Path) -> None:
    """Put the trained models below the package, with their cards and hashes."""
    from polite_flamingo.laptop.ship import ship

    for name, figures in ship(out, work=work)["figures"].items():
        click.echo(f"{name}: {figures['held_out']}")


@click.command("measure")
@click.option("--data-root", type=FOLDER, required=True, help="Folder that holds photos/.")
@click.option("--work", type=FOLDER, default=Path(".work/laptop"), help="Where what the towers see is kept.")
@click.option("--most", type=int, default=0, help="Records of a data set, or photographs, at most; 0: as on the cards.")
@click.option("--threads", type=int, default=2, help="Of the processor.")
@click.option("--out", type=FILE, default=MEASURED, help="Gets the figures beside those of other models there.")
@click.option("--write", is_flag=True, help="Put the figures on the cards, in place of those there.")
@click.argument("names", nargs=-1, type=click.Choice(("nli", "reward", "clip", "connector", "rewriter")))
def measure(
    data_root: Path, work: Path, most: int, threads: int, out: Path, write: bool, names: tuple[str, ...]
) -> None:
    """Measure what is shipped again on held-out data, loaded as the stages load it, beside the cards' figures."""
    import torch

    from polite_flamingo.laptop.remeasure import MEASURES, compare, remeasure
    from polite_flamingo.laptop.ship import restate
    from polite_flamingo.laptop.ship_flamingo import numbers
    from polite_flamingo.model.origins import LAPTOP

    torch.set_num_threads(threads)
    out.parent.mkdir(parents=True, exist_ok=True)
    cards = read_json(LAPTOP / "manifest.json")["figures"]
    for name in names or tuple(MEASURES):
        found = remeasure([name], data_root, work, most)[name]
        for figure, card, value, same in compare(cards[name]["held_out"], found):
            click.echo(f"{name} {figure}: {value:g}, card {card:g}{'' if same else ' DIFFERS'}")
        write_json(out, (read_json(out) if out.is_file() else {}) | {name: numbers(found)})
        if write:
            restate({name: numbers(found)})


VERBS = (nli, reward, image_text, ship_models, measure)
