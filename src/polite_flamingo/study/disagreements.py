"""The page of answers on which people and the NLI judge differ: one file with its images in it, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from polite_flamingo.errors import printable
from polite_flamingo.io.files import write_atomic
from polite_flamingo.study.store import StudyFile

MAX_SIDE = 480  # pixels of an image on the page
PAGE = Path(__file__).parent / "page"


def write_disagreements(path: Path, report: Mapping[str, Any], study: StudyFile) -> None:
    """Write the page.

    Args:
        path: HTML file.
        report: Of `report.measure`, with ``disagreements``.
        study: Holds the images.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    @cache
    def url(name: str) -> str:
        found = study.image(name)
        return "" if found is None else _data_url(found[1])

    def cards(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in rows:
            yield {**row, "pictures": [found for name in row["images"] if (found := url(name))]}

    loader = FileSystemLoader(PAGE)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    template = environment.get_template("disagreements.html")
    style = (PAGE / "disagreements.css").read_text(encoding="utf-8")
    content = {
        "title": report["title"],
        "all": report["disagreements_in_all"],
        "cards": list(cards(report["disagreements"])),
        "style": style,
        "style_hash": "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    }
    write_atomic(path, template.render(content))


def _data_url(data: bytes) -> str:
    """A small JPEG of an image that the study holds, which was read when it was made."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
