"""Which photographs are trained on: one split for all models, by photograph, so that no data set leaks into another.

COCO's pictures go by many names (VSR's ``000000240718.jpg``, an image id); one name stands for them all. DAQUAR's are
frames of a few rooms, so a block of consecutive frames is one photograph here.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

Part = Literal["train", "validation", "held_out"]

DAQUAR_BLOCK = 29  # consecutive frames
_COCO = re.compile(r"(?:COCO_\w+_)?(\d{12})(?:\.jpg)?")
_DAQUAR = re.compile(r"image(\d+)(?:\.\w+)?")


def coco_name(image_id: int | str) -> str:
    """The file name that stands for a COCO image id."""
    return f"COCO_val2014_{int(image_id):012d}.jpg"


def photograph(name: str) -> str:
    """What decides a photograph's part: its file name, made the same for all data sets that show it.

    Args:
        name: File name or path of the picture.
    """
    file = name.rpartition("/")[2]
    if match := _COCO.fullmatch(file):
        return coco_name(match[1])
    if match := _DAQUAR.fullmatch(file):
        return f"daquar block {int(match[1]) // DAQUAR_BLOCK}"
    return file


def part_of(name: str) -> Part:
    """Part of a photograph (its file name) or of a record without one (its question): a tenth each is kept back."""
    digest = int(hashlib.sha256(photograph(name).encode()).hexdigest(), 16) % 10
    return "held_out" if digest == 0 else "validation" if digest == 1 else "train"
