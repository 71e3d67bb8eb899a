"""Generated pictures with known defects: what the doctor must find is known exactly."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.io.chunks import chunked

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

SIZE = (320, 240)
EVALUATION_SHARE = 20  # every 20th picture is one of evaluation
DEFECT_SHARE = 25  # of 25 others, one has a defect
DEFECTS = (
    *("truncated", "empty", "not_an_image", "wrong_extension", "cmyk", "palette", "exif_rotated", "animated", "16bit"),
    *("tiny", "duplicate", "near_duplicate", "overlap", "near_overlap"),
)
SECOND_FRAME = 1_000_000_000  # added to a picture's number


def write_pictures(root: Path, count: int, processes: int) -> dict[str, int]:
    """Write `count` files into ``root/{train,evaluation}``; return how many findings of each kind they hold."""
    for folder in ("train", "evaluation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    planted: Counter[str] = Counter()
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(partial(_write_all, root), chunked(range(count), 500)):
            planted += part
    return dict(planted)


def _write_all(root: Path, numbers: Iterable[int]) -> Counter[str]:
    return Counter(kind for number in numbers if (kind := _write(root, number)) is not None)


def _write(root: Path, number: int) -> str | None:
    if number % EVALUATION_SHARE == 0:
        _sound(number).save(root / "evaluation" / f"{number:07d}.jpg", quality=90)
    elif number % DEFECT_SHARE == 1:
        return _write_defect(root / "train" / f"{number:07d}", number)
    else:
        _sound(number).save(root / "train" / f"{number:07d}.jpg", quality=90)
    return None


def _write_defect(stem: Path, number: int) -> str:
    import numpy as np
    from PIL import Image as PILModule

    kind = DEFECTS[number // DEFECT_SHARE % len(DEFECTS)]
    jpg, png = stem.with_suffix(".jpg"), stem.with_suffix(".png")
    image = _sound(number)
    sibling = number + 1 if (number + 1) % EVALUATION_SHARE else number + 2
    if kind == "truncated":
        image.save(jpg)
        jpg.write_bytes(jpg.read_bytes()[:-500])
    elif kind in ("empty", "not_an_image"):
        jpg.write_bytes(b"" if kind == "empty" else b"<html>404 Not Found</html>")
    elif kind == "wrong_extension":
        image.save(png, format="JPEG")
    elif kind == "cmyk":
        image.convert("CMYK").save(jpg)
    elif kind == "palette":
        image.convert("P").save(png)
    elif kind == "exif_rotated":
        exif = PILModule.Exif()
        exif[0x0112] = 6
        image.save(jpg, exif=exif)
    elif kind == "animated":
        image.save(stem.with_suffix(".webp"), save_all=True, append_images=[_sound(number + SECOND_FRAME)])
    elif kind == "16bit":
        PILModule.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(png)
    elif kind == "tiny":
        image.resize((8, 8)).save(png)
    else:
        original = number // EVALUATION_SHARE * EVALUATION_SHARE if kind.endswith("overlap") else sibling
        _sound(original).save(jpg, quality=50 if kind.startswith("near") else 90)
    return kind


def _sound(number: int) -> PILImage:
    """A picture like no other: soft colours with a few sharp shapes."""
    from PIL import Image as PILModule
    from PIL import ImageDraw

    rng = random.Random(number)
    image = PILModule.frombytes("RGB", (10, 8), rng.randbytes(240)).resize(SIZE, PILModule.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.randrange(SIZE[0]), rng.randrange(SIZE[1])
        colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        draw.rectangle((x, y, x + rng.randrange(8, 90), y + rng.randrange(8, 90)), fill=colour)
    return image
