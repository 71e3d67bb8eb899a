"""Expressions that single out an object: the sample, with the object marked on its image (section 4.1, 2307.01003)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import REGION, draw_request
from polite_flamingo.records import Image, Sample, Task
from polite_flamingo.sources.base import Licensed, need, single_turn
from polite_flamingo.sources.forms.regions import Mark, derived_from, draw_colour, draw_region

SUBSET = "train2014"  # all images of the RefCOCO family are of COCO's train2014
KINDS: tuple[Literal["box", "circle"], ...] = ("box", "circle")
PixelBox = tuple[float, float, float, float]  # x, y, width, height in pixels


def region_sample(
    reader: Licensed,
    root: Path,
    split: str,
    official: object,
    image: Image,
    box: Sequence[float],
    expressions: Sequence[str],
    seed: int,
) -> Sample:
    """One object, marked on its image by a coloured box or circle that the instruction names (section 4.1).

    Args:
        reader: Gives name and licence.
        root: Data root; the drawn image is written below it.
        split: Split as the dataset names it.
        official: The record's official id, last part of the sample's id.
        image: The image as COCO has it.
        box: ``x, y, width, height`` in pixels.
        expressions: What is said of the object.
        seed: Seed of colour, kind of mark and wording, each together with the sample's id.

    Raises:
        DataError: there are no expressions, the box is none or lies outside the image, or the image does not decode.
    """
    if not expressions:
        raise DataError("object has no expression", value=official)
    sample_id = f"{reader.name}/{split}/{official}"
    kind = Random(f"{seed}:{sample_id}:mark").choice(KINDS)
    x, y, width, height = box
    mark = Mark(kind, draw_colour(seed, sample_id), (x, y, x + width, y + height))
    drawn = draw_region(root, image, mark)
    request = draw_request(REGION, seed=seed, sample_id=sample_id, mark=mark.words)
    return single_turn(
        reader,
        split,
        sample_id,
        Task.CAPTION,
        question=request,
        answer="\n".join(expressions),
        images=(drawn,),
        extras={"captions": list(expressions), "derived_from": dict(derived_from(drawn, image, mark))},
    )


def pixel_box(record: Any) -> PixelBox:
    """``bbox`` of a record: x, y, width, height in pixels.

    Raises:
        DataError: it is not four numbers.
    """
    box = need(record, "bbox", list)
    if len(box) != 4 or not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e6 for v in box):
        raise DataError("'bbox' is not four numbers", value=box)
    return box[0], box[1], box[2], box[3]
