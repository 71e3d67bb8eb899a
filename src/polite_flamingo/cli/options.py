"""What several verbs read from their arguments: the profile's parameters, folders, models."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from polite_flamingo.environment import DEVICE_VARIABLE
from polite_flamingo.errors import ConfigError
from polite_flamingo.params import DATA_ROOT_VARIABLE, Params, load_params

DATA_ROOT = "data/raw"  # of `fetch` and `sources`, unless one is named


def load(arguments: argparse.Namespace) -> Params:
    """The parameters of the profile, on the device that was named.

    Raises:
        ConfigError: a file, a folder or the device does not exist.
    """
    device = getattr(arguments, "device", None) or os.environ.get(DEVICE_VARIABLE)
    if hasattr(arguments, "data_root"):
        from polite_flamingo.launch import existing_folder

        os.environ[DATA_ROOT_VARIABLE] = existing_folder(arguments.data_root)
    params = load_params(getattr(arguments, "params", Path("params.yaml")), getattr(arguments, "profile", None))
    if device is None:
        return params
    if device not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:\d+", device):
        raise ConfigError("unknown device", value=device, next_step="one of auto, cpu, cuda, cuda:<number>")
    return params.model_copy(update={"runtime": params.runtime.model_copy(update={"device": device})})


def data_root(arguments: argparse.Namespace) -> Path:
    """The folder of the real datasets, for verbs that go without a profile."""
    chosen = getattr(arguments, "data_root", None) or os.environ.get(DATA_ROOT_VARIABLE) or DATA_ROOT
    return Path(chosen).expanduser()


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
    if Path(text).is_dir() or text in ("packaged", "none") or ":" in text:
        return text
    raise ConfigError(
        "model folder does not exist",
        value=text,
        where=f"--{name}",
        next_step="give a folder, or packaged, pypi:<package>, hub:<id>@<commit>",
    )
