"""Detection annotations as text: how many objects of each kind there are (DIOR, DOTA, HRRSD)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Sample
from polite_flamingo.sources.base import Licensed
from polite_flamingo.sources.forms.captions import caption_sample

Box = list[Any]  # [name, x1, y1, x2, y2], normalised to 0..1
Corners = tuple[float, float, float, float]  # x1, y1, x2, y2, pixels


def object_count(boxes: Iterable[Sequence[Any]]) -> str:
    """``Object Count: {'ship': 12, 'harbor': 2}``, the most frequent kind first."""
    return f"Object Count: {dict(Counter(str(box[0]) for box in boxes).most_common())}"


def number(text: object, what: str) -> float:
    """The finite number that `text` is.

    Raises:
        DataError: it is none; the message names `what` it should be.
    """
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{what} is not a number", value=text)
    return value


def normalise(objects: Iterable[tuple[str, Corners]], width: float, height: float) -> list[Box]:
    """Boxes in parts of the image, cut off at its edge; those without area, before or after the cut, are left out.

    Args:
        objects: Name and corners of each object, pixels.
        width: Of the image, pixels.
        height: Of the image, pixels.

    Raises:
        DataError: the image has no size.
    """
    if width <= 0 or height <= 0:
        raise DataError("image size is not positive", value=[width, height])
    boxes = []
    for name, corners in objects:
        parts = (corners[0] / width, corners[1] / height, corners[2] / width, corners[3] / height)
        x1, y1, x2, y2 = (round(min(max(part, 0.0), 1.0), 5) for part in parts)
        if x1 < x2 and y1 < y2:
            boxes.append([name, x1, y1, x2, y2])
    return boxes


def detection_sample(source: Licensed, split: str, image_id: str, image: Image, boxes: list[Box], seed: int) -> Sample:
    """The sample of one image of a detection set; its boxes are in the extras.

    Raises:
        DataError: there are no objects.
    """
    if not boxes:
        raise DataError("image has no objects", value=image.path)
    return caption_sample(source, split, image_id, image, [object_count(boxes)], seed, boxes=boxes)
