"""``read``, ``fetch`` and ``sources``: the real datasets, without a profile."""

from __future__ import annotations

import json
from pathlib import Path

import click

from polite_flamingo.cli.command import CommonOptions, verb
from polite_flamingo.cli.options import FILE, as_json, data_root, show
from polite_flamingo.errors import DataError


@verb("read", "vqav2 data/raw/vqav2 --out looked")
@click.argument("source", metavar="SOURCE", help="name in `sources`, or package.module:Class of your own reader")
@click.argument("raw_dir", type=FILE, metavar="RAW_DIR", help="the dataset's folder; its parent is the data root")
@click.option("--out", type=FILE, required=True, metavar="DIR", help="gets samples/ and quarantine.jsonl")
@click.option("--split", metavar="S", help="split as the dataset names it (default: all that are there)")
@click.option("--seed", type=int, default=42, metavar="N", help="seed of drawn wordings (default: 42)")
def read(source: str, raw_dir: Path, out: Path, split: str | None, seed: int) -> None:
    """Read one dataset's official files into samples, bad rows into quarantine."""
    from polite_flamingo.sources.reading import read_source

    try:
        counts = read_source(source, raw_dir, out, split=split, seed=seed)
        for line in counts:
            print(json.dumps(line))
        read, rejected = (sum(line[name] for line in counts) for name in ("read", "rejected"))
        if read == rejected > 0:
            raise DataError(
                f"none of {read} rows could be read", where=out / "quarantine.jsonl", next_step="see its reasons"
            )
    except DataError as error:
        raise DataError(
            error.what, value=error.value, where=error.where, next_step=_with_readers(error, raw_dir)
        ) from None


def _with_readers(error: DataError, folder: Path) -> str:
    """What to do next, with the readers that would read what lies in a folder."""
    from polite_flamingo.start.recognise import recognise

    step = error.next_step or "see what the message names"
    try:
        found = recognise(folder)
    except DataError:
        return step
    fits = [
        f"`read {item.reader}` with splits {', '.join(item.splits)}"
        if item.mapping is None
        else f"`init {item.folder}`"
        for item in found
    ]
    return f"{step}; what lies there fits {' and '.join(fits)}"


@verb("fetch", "vqav2 coco")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", help="datasets, as `sources` lists them")
@click.option("--accept-licence", is_flag=True, help="the licences shown are accepted")
@click.pass_obj
def fetch(options: CommonOptions, names: tuple[str, ...], accept_licence: bool) -> None:
    """Get datasets from their official locations: resumed, checked, unpacked."""
    from polite_flamingo.fetch import fetch_datasets

    root = data_root(options.data_root)
    fetch_datasets(list(names), root, accept_licence=accept_licence, say=lambda line: print(line, flush=True))


@verb("sources")
@as_json
@click.pass_obj
def sources(options: CommonOptions, as_json: bool) -> None:
    """Every dataset with a reader: task, licence, rows, state on this machine."""
    from polite_flamingo.fetch import find_state
    from polite_flamingo.sources import catalogue
    from polite_flamingo.sources.table_of_sources import facts, render

    rows = []
    for name, entry in catalogue().items():
        local = find_state(entry, data_root(options.data_root))
        rows.append({**facts(name), "state": local.state, "splits_found": list(local.splits)})
    show(rows, render, as_json)
