"""The records to browse: texts of bounded length, images as small JPEG data URLs within a budget of bytes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ImageError
from polite_flamingo.images import open_image
from polite_flamingo.io import Row, read_shard
from polite_flamingo.reports.filtering.collect import Position

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
    rows = dict(_read(pf1m, set(positions)))
    examples = [_example(rows[position], near, gallery) for position, near in positions.items()]
    return sorted(examples, key=lambda example: str(example["id"]))


def _example(row: Row, near: set[str], gallery: Gallery) -> dict[str, Any]:
    verdicts = json.loads(row["verdicts"])
    scores = json.loads(row["scores"])
    return {
        "id": _cut(row["id"]),
        "source": row["source"],
        "task": row["task"],
        "failed": [name for name, (_, _, passed) in verdicts.items() if not passed],
        "reason": row["reason"],
        "near": sorted(near),
        "instruction": _cut(row["instruction"]),
        "raw": _cut(row["raw_answer"]),
        "rewritten": _cut(row["rewritten"]),
        "cut": [[logit, _cut(text)] for logit, text in json.loads(row["cut"])[:MAX_CUT]],
        "images": [gallery.number(path) for path in json.loads(row["images"])[:MAX_IMAGES]],
        "verdicts": [[name, *verdict] for name, verdict in verdicts.items()],
        "scores": {name: value for name, value in scores.items() if value is not None and not name.endswith("_by_cut")},
    }


def _read(pf1m: Path, positions: set[Position]) -> Iterator[tuple[Position, Row]]:
    for state, shard in sorted({position[:2] for position in positions}):
        for number, row in enumerate(read_shard(pf1m / state / shard)):
            if (state, shard, number) in positions:
                yield (state, shard, number), row


def _cut(text: str) -> str:
    more = len(text) - MAX_TEXT
    return text if more <= 0 else f"{text[:MAX_TEXT]} … ({more:,} more characters)"
