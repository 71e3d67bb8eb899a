"""Regions drawn on images: box, circle or arrow, as the paper marks what a question is about (section 4.1, 2307.01003).

The drawn image is a new file, ``derived/<2 hex>/<sha256>.png`` below the data root, named by the content of its source
and the mark, so drawing again finds it there.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from polite_flamingo.errors import DataError
from polite_flamingo.images import open_image, resolve_image
from polite_flamingo.io.files import write_atomic
from polite_flamingo.records import Image
from polite_flamingo.sources.forms.files import stop_if_looking

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

DERIVED = "derived"
RGB = {
    "red": (230, 25, 25),
    "green": (20, 200, 40),
    "blue": (30, 80, 255),
    "yellow": (255, 230, 0),
    "orange": (255, 130, 0),
    "purple": (145, 30, 200),
    "pink": (255, 90, 190),
    "cyan": (0, 220, 230),
}
COLOURS = tuple(RGB)
_NAMES = {"box": "bounding box", "circle": "circle", "arrow": "arrow"}
_LINE = 0.008  # width of a line as a share of the longer side of the image
_ARROW = 0.15  # length of an arrow, likewise


@dataclass(frozen=True, slots=True)
class Mark:
    """What is drawn.

    Args:
        kind: "box", "circle" (an ellipse) or "arrow".
        colour: One of `COLOURS`.
        geometry: Pixels from the top left corner: ``x1, y1, x2, y2`` of the region (box, circle) or ``x, y`` of the
            arrow's tip.
    """

    kind: Literal["box", "circle", "arrow"]
    colour: str
    geometry: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in _NAMES or self.colour not in RGB:
            raise DataError("no such mark", value=f"{self.colour} {self.kind}")
        numbers = len(self.geometry) == (2 if self.kind == "arrow" else 4) and all(map(math.isfinite, self.geometry))
        if not numbers or (self.kind != "arrow" and not self._has_area()):
            raise DataError("region is not one", value=self.geometry)

    def _has_area(self) -> bool:
        x1, y1, x2, y2 = self.geometry
        return x1 < x2 and y1 < y2

    @property
    def words(self) -> str:
        """How an instruction names it, e.g. "green bounding box"."""
        return f"{self.colour} {_NAMES[self.kind]}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for the sample's extras."""
        return {"kind": self.kind, "colour": self.colour, "geometry": list(self.geometry)}


def draw_colour(seed: int, sample_id: str) -> str:
    """The colour of a sample's mark, one of `COLOURS`."""
    return Random(f"{seed}:{sample_id}:colour").choice(COLOURS)


def need_writable(root: Path) -> None:
    """Make sure that drawn images can be written; a reader calls it before its first sample.

    Raises:
        DataError: the data root is read-only.
    """
    stop_if_looking()
    try:
        write_atomic(root / DERIVED / ".writable", b"")
        (root / DERIVED / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(root, error) from None


def draw_region(root: Path, source: Image, mark: Mark) -> Image:
    """Draw `mark` on an image of the data root and return the new image.

    Args:
        root: Data root; ``derived/`` is written below it.
        source: The image as the dataset has it.
        mark: What to draw.

    Raises:
        ImageError: the source is missing or does not decode.
        DataError: the mark lies outside the image, or the data root is read-only.
    """
    return derive(root, source, mark.to_json(), lambda picture: _draw(picture, mark))


def derive(root: Path, source: Image, recipe: Mapping[str, Any], paint: Callable[[PILImage], None]) -> Image:
    """Make a new image of one of the data root, named by the source's bytes and the recipe; made once.

    Args:
        root: Data root; ``derived/`` is written below it.
        source: The image as the dataset has it.
        recipe: What is painted, JSON values; another recipe gives another file.
        paint: Paints it on the opened source.

    Raises:
        ImageError: the source is missing or does not decode.
        DataError: what `paint` raises, or the data root is read-only.
    """
    file = resolve_image(root, source.path)
    digest = hashlib.sha256(file.read_bytes() if file.is_file() else b"")
    digest.update(json.dumps(recipe, sort_keys=True).encode())
    name = digest.hexdigest()
    drawn = Image(f"{DERIVED}/{name[:2]}/{name}.png")
    if (root / drawn.path).is_file():
        return drawn
    picture = open_image(root, source.path)
    paint(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    try:
        write_atomic(root / drawn.path, buffer.getvalue())
    except OSError as error:
        raise _not_writable(root, error) from None
    return drawn


def derived_from(drawn: Image, source: Image, mark: Mark) -> Mapping[str, Any]:
    """Where a drawn image came from: the sample's ``extras["derived_from"]``."""
    return {drawn.path: {"image": source.path, "mark": mark.to_json()}}


def _draw(picture: PILImage, mark: Mark) -> None:
    from PIL import ImageDraw

    width, height = picture.size
    right, bottom = width - 1, height - 1
    pen = ImageDraw.Draw(picture)
    line = max(2, round(_LINE * max(width, height)))
    x1, y1, x2, y2 = mark.geometry if mark.kind != "arrow" else mark.geometry * 2
    if x2 < 0 or y2 < 0 or x1 > right or y1 > bottom:
        raise DataError("region lies outside the image", value=[*mark.geometry, width, height])
    if mark.kind == "arrow":
        _arrow(pen, (x1, y1), (width / 2, height / 2), _ARROW * max(width, height), line, RGB[mark.colour])
        return
    around = (math.sqrt(2) - 1) / 2 if mark.kind == "circle" else 0.0  # the ellipse through the region's corners
    grow_x, grow_y = (x2 - x1) * around + line, (y2 - y1) * around + line  # the line lies outside the region
    corners = (max(x1 - grow_x, 0.0), max(y1 - grow_y, 0.0), min(x2 + grow_x, right), min(y2 + grow_y, bottom))
    shape = pen.ellipse if mark.kind == "circle" else pen.rectangle
    shape(corners, outline=RGB[mark.colour], width=line)


def _arrow(
    pen: Any,
    tip: tuple[float, float],
    centre: tuple[float, float],
    length: float,
    line: int,
    colour: tuple[int, int, int],
) -> None:
    """An arrow that comes from the side of the image's centre, so that all of it is seen."""
    dx, dy = centre[0] - tip[0], centre[1] - tip[1]
    distance = math.hypot(dx, dy)
    dx, dy = (dx / distance, dy / distance) if distance > 1 else (math.sqrt(0.5), math.sqrt(0.5))
    head = max(4.0 * line, length / 3)

    def at(along: float, aside: float) -> tuple[float, float]:
        return tip[0] + along * dx - aside * dy, tip[1] + along * dy + aside * dx

    pen.line([at(head * 0.8, 0), at(max(length, head * 1.5), 0)], fill=colour, width=line)
    pen.polygon([tip, at(head, head * 0.45), at(head, -head * 0.45)], fill=colour)


def _not_writable(root: Path, error: OSError) -> DataError:
    return DataError(
        "drawn images cannot be written",
        value=error.strerror,
        where=root / DERIVED,
        next_step="make the data root writable and see that the disk has room",
    )
