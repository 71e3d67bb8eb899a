"""What was annotated and what was made of it, beside the photographs, as one picture: for a page, or to look at."""

from __future__ import annotations

import textwrap
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from PIL.Image import open as open_picture

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.drawing import BLUE, GREY, RED, styled
from polite_flamingo.filter.decisions import read_decided
from polite_flamingo.images import open_image
from polite_flamingo.io.files import replacing
from polite_flamingo.records import Rewrite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from polite_flamingo.params.schema import Params

COLUMNS, LONGEST = 92, 280  # characters of a line and of a text
LINE, GAP, WIDTH, PICTURE = 0.19, 0.12, 10.0, 2.6  # inches
SIDE = 400  # pixels of a photograph

Fate = tuple[Rewrite, str]  # with the reason it was dropped for; "" where it is kept


def draw_before_after(params: Params, photographs: int, out: Path) -> Path:
    """Draw all records of the first photographs, in order of path and id, kept or not: nothing is chosen by looking.

    Args:
        params: Of a profile that has been filtered.
        photographs: How many.
        out: PNG file.

    Raises:
        DataError: no filtered record has an image, or nothing has been filtered yet.
        ImageError: a photograph cannot be opened.
    """
    decided = (
        (record, str(row["reason"] or ""))
        for state in ("kept", "rejected")
        for record, row in read_decided(params.data / "pf1m", state, ("reason",))
        if record.images
    )
    ordered = sorted(decided, key=lambda pair: (pair[0].images[0].path, pair[0].id))
    groups = [(path, list(records)) for path, records in groupby(ordered, key=lambda pair: pair[0].images[0].path)]
    if not groups:
        raise DataError("no filtered record has an image", where=params.data / "pf1m", next_step="name another profile")
    _draw(out, params.image_root, groups[:photographs])
    with open_picture(out) as drawn:  # 256 colours: a third of the bytes
        small = drawn.convert("RGB").quantize()
    with replacing(out) as file:
        small.save(file, format="png", optimize=True)
    return out


@styled
def _draw(image_root: Path, groups: list[tuple[str, list[Fate]]]) -> Figure:
    from matplotlib.figure import Figure as Canvas

    texts = [[_lines(record, reason) for record, reason in records] for _, records in groups]
    heights = [max(PICTURE * 0.75, sum(len(lines) * LINE + GAP for lines in blocks)) + GAP for blocks in texts]
    figure = Canvas(figsize=(WIDTH, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(groups), 2, width_ratios=[PICTURE, WIDTH - PICTURE], height_ratios=heights)
    for row, ((path, _), blocks, height) in enumerate(zip(groups, texts, heights, strict=True)):
        picture, words = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
        image = open_image(image_root, path)
        image.thumbnail((SIDE, SIDE))
        picture.imshow(image)
        picture.set_anchor("NW")
        picture.axis("off")
        _write(words, blocks, height)
    return figure


def _lines(record: Rewrite, reason: str) -> list[tuple[str, str]]:
    """Lines of a record with their colours: what was asked, annotated, rewritten."""
    made = f"{_one_line(record.rewritten)}" + (f"  [dropped: {reason}]" if reason else "")
    parts = [
        (_one_line(record.instruction), "black"),
        (_one_line(record.raw_answer), GREY),
        (made, RED if reason else BLUE),
    ]
    return [(line, colour) for text, colour in parts for line in textwrap.wrap(text, COLUMNS) or [""]]


def _one_line(text: str) -> str:
    return textwrap.shorten(" / ".join(text.splitlines()), LONGEST, placeholder=" …")


def _write(axes: Axes, blocks: list[list[tuple[str, str]]], height: float) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    axes.axis("off")
    y = 0.0
    for lines in blocks:
        for text, colour in lines:
            axes.text(0, y, text, color=colour, va="top", fontsize=9, parse_math=False)
            y += LINE
        y += GAP
