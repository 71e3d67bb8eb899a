"""The records to browse: texts of bounded length, images as small JPEG data URLs within a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ImageError
from polite_flamingo.filter.decisions import read_decided
from polite_flamingo.filter.sets import ALL
from polite_flamingo.images import open_image
from polite_flamingo.io.text import Row
from polite_flamingo.records import Rewrite
from polite_flamingo.reports.filtering.collect import STATES, Position

MAX_TEXT = 4_000  # characters of one text
MAX_IMAGES = 4  # of one record
MAX_CUT = 10  # paragraphs of one record
SIDE = 224  # pixels of an image's longer side
QUALITY = 72


@dataclass
class Gallery:
    """Images by number, each of them once.

    Args:
        root: Folder that image paths are relative to.
        budget: Bytes of data URLs left; an image that does not fit is replaced by a note.
    """

    root: Path
    budget: int
    images: list[dict[str, str]] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, path: str) -> int:
        """Index of an image in `images`: ``{"alt": path, "url": …}``, or ``"note"`` in place of the URL."""
        if path not in self._numbers:
            self._numbers[path] = len(self.images)
            self.images.append({"alt": _cut(path), **self._load(path)})
        return self._numbers[path]

    def _load(self, path: str) -> dict[str, str]:
        if self.budget <= 0:
            return {"note": "left out: this page has reached its size"}
        try:
            image = open_image(self.root, path)
        except ImageError as error:
            return {"note": error.what}
        image.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
        url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        self.budget -= len(url)
        return {"url": url}


def load_examples(pf1m: Path, positions: Mapping[Position, set[str]], gallery: Gallery) -> list[dict[str, Any]]:
    """The records at `positions`, in order of id, as JSON values for the page.

    Images are loaded in their order, which goes round sources and fates: all have some when the budget ends.
    """
    records = dict(_read(pf1m, set(positions)))
    examples = [_example(*records[position], near, gallery) for position, near in positions.items()]
    return sorted(examples, key=lambda example: str(example["id"]))


def _example(record: Rewrite, decision: Row, near: set[str], gallery: Gallery) -> dict[str, Any]:
    verdicts = {name: decision[name] for name in ALL if decision[name] is not None}
    return {
        "id": _cut(record.id),
        "source": record.source,
        "task": str(record.task),
        "failed": [name for name, verdict in verdicts.items() if not verdict["passed"]],
        "reason": decision["reason"] or "",
        "near": sorted(near),
        "instruction": _cut(record.instruction),
        "raw": _cut(record.raw_answer),
        "rewritten": _cut(record.rewritten),
        "cut": [[logit, _cut(text)] for logit, text in decision["cut"][:MAX_CUT]],
        "images": [gallery.number(image.path) for image in record.images[:MAX_IMAGES]],
        "verdicts": [
            [name, verdict["score"], verdict["threshold"], verdict["passed"]] for name, verdict in verdicts.items()
        ],
        "scores": {name: value for name, value in record.scores.items() if value is not None},
    }


def _read(pf1m: Path, positions: set[Position]) -> Iterator[tuple[Position, tuple[Rewrite, Row]]]:
    for state in STATES:
        for number, record in enumerate(read_decided(pf1m, state)):
            if (state, number) in positions:
                yield (state, number), record


def _cut(text: str) -> str:
    more = len(text) - MAX_TEXT
    return text if more <= 0 else f"{text[:MAX_TEXT]} … ({more:,} more characters)"
