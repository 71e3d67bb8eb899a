"""What several verbs check or print: files, models, folders of datasets, reports as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from polite_flamingo.errors import ConfigError

DATA_ROOT = "data/raw"  # of `fetch` and `sources`, unless one is named
FILE = click.Path(path_type=Path)
as_json = click.option("--json", "as_json", is_flag=True, help="everything, as JSON")


def show(report: Any, render: Callable[[Any], str], as_json: bool) -> None:
    """Print a report for people, or as JSON for programs."""
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else render(report))


def data_root(chosen: str | None) -> Path:
    """The folder of the real datasets, for verbs that go without a profile."""
    from polite_flamingo.params.schema import DATA_ROOT_VARIABLE

    return Path(chosen or os.environ.get(DATA_ROOT_VARIABLE) or DATA_ROOT).expanduser()


def existing_file(file: Path, option: str) -> Path:
    """`file`, if it is one.

    Raises:
        ConfigError: it is absent, or a folder.
    """
    if file.is_dir() or not file.exists():
        what = "a folder, not a file" if file.is_dir() else "file does not exist"
        raise ConfigError(what, value=str(file), where=option, next_step="give the path of a file")
    return file


def model_origin(name: str, text: str) -> str:
    """A model named on the command line: a folder, or an origin as profiles have them.

    Raises:
        ConfigError: it is neither.
    """
    if Path(text).is_dir() or text in ("packaged", "laptop", "none") or ":" in text:
        return text
    raise ConfigError(
        "model folder does not exist",
        value=text,
        where=f"--{name}",
        next_step="give a folder, or packaged, laptop, pypi:<package>, hub:<id>@<commit>",
    )
