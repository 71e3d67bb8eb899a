"""Our image preprocessing against transformers' PIL processor: how many values differ, and milliseconds per image.

    python -m bench.bench_images

Why `polite_flamingo.images.ImagePreprocessor` is ours is written there, with what this prints.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from polite_flamingo.images import ImagePreprocessor

SIZES = ((640, 480), (480, 640), (500, 333), (224, 224), (101, 37), (31, 500))
MODES = ("RGB", "L", "RGBA", "P", "CMYK")
REPETITIONS = 20


def noise(width: int, height: int, mode: str) -> Image.Image:
    """Random pixels, the same in every run."""
    values = random.Random(0).randbytes(width * height * 3)
    return Image.frombytes("RGB", (width, height), values).convert(mode)


def milliseconds(prepare: Callable[[Image.Image], torch.Tensor], images: Sequence[Image.Image]) -> float:
    """Time per image."""
    begin = time.process_time()
    for _ in range(REPETITIONS):
        for image in images:
            prepare(image)
    return (time.process_time() - begin) * 1e3 / (REPETITIONS * len(images))


def compare(pixels: int) -> str:
    """One line about a tower whose images have `pixels` per side."""
    ours = ImagePreprocessor.square(pixels)
    processor = CLIPImageProcessorPil(size={"shortest_edge": pixels}, crop_size={"height": pixels, "width": pixels})

    def theirs(image: Image.Image) -> torch.Tensor:
        return processor(images=[image], return_tensors="pt")["pixel_values"][0]

    images = [noise(*size, mode) for size in SIZES for mode in MODES]
    gaps = [np.abs(ours(image).numpy() - theirs(image).numpy()) for image in images]
    photos = [noise(640, 480, "RGB"), noise(500, 375, "RGB")]
    return (
        f"{pixels:4d} px: {np.mean([(gap > 0).mean() for gap in gaps]):.0%} of the values differ, by "
        f"{max(gap.max() for gap in gaps):.1e} at most; ours {milliseconds(ours, photos):.2f} ms, transformers "
        f"{milliseconds(theirs, photos):.2f} ms per image"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for side in (32, 224, 336):
        print(compare(side))
