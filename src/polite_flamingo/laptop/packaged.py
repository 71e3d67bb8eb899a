"""Photographs that ordinary packages carry, as a data root: ``python -m polite_flamingo.laptop.packaged FOLDER``.

Pictures are copied from the installed packages when this runs, none is part of this one. Questions, terse answers and
captions were written for the purpose, by looking at the pictures (``assets/photographs.json``, with each licence).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import publishing
from polite_flamingo.io.text import read_json, write_jsonl

LISTED = Path(__file__).parent.parent / "assets" / "photographs.json"
FOLDER = "packaged"  # below the data root
INSTALL = "make real installs them: pip install 'polite-flamingo[laptop]'"


def write_root(root: Path) -> dict[str, int]:
    """Write the data root: a folder of pictures, their captions, questions and licences.

    Args:
        root: Where `FOLDER` goes; replaced if there.

    Returns:
        Number of photographs, captioned ones and questions.

    Raises:
        DataError: a package is not installed, or lacks a picture.
    """
    listed = read_json(LISTED)
    with publishing(root / FOLDER) as staging:
        (staging / "images").mkdir(parents=True)
        for entry in listed:
            shutil.copyfile(find_photograph(entry), staging / "images" / name_of(entry))
        captions = [{"image": f"images/{name_of(entry)}", "captions": entry["captions"]} for entry in listed]
        questions = list(_questions(listed))
        write_jsonl(staging / "captions.jsonl", captions)
        write_jsonl(staging / "questions.jsonl", questions)
        lines = [f"- `{name_of(entry)}` (from {entry['package']}): {entry['licence']}" for entry in listed]
        (staging / "LICENCES.md").write_text("\n".join(["# Licences of these photographs", "", *lines, ""]))
    return {"photographs": len(listed), "captions": len(captions), "questions": len(questions)}


def find_photograph(entry: dict[str, Any]) -> Path:
    """The picture in its installed package.

    Raises:
        DataError: the package is not installed, or lacks it.
    """
    module, _, rest = entry["file"].partition("/")
    spec = importlib.util.find_spec(module)
    places = [] if spec is None else [Path(place) / rest for place in spec.submodule_search_locations or ()]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise DataError(
            "photograph of a package is not here", value=entry["package"], where=entry["file"], next_step=INSTALL
        )
    return found


def name_of(entry: dict[str, Any]) -> str:
    """File name of a picture."""
    return str(entry["file"]).rpartition("/")[2]


def _questions(listed: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for entry in listed:
        stem = name_of(entry).partition(".")[0]
        for number, (question, answer) in enumerate(entry["questions"], 1):
            yield {
                "id": f"{stem}-{number}",
                "image": f"images/{name_of(entry)}",
                "question": question,
                "answer": answer,
            }


@click.command()
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
def main(root: Path) -> None:
    """Write the photographs of installed packages, with questions and captions, below ROOT."""
    click.echo(json.dumps(write_root(root)))


if __name__ == "__main__":
    main()
