"""The readers on official files. Needs a data root with real files; see POLITE_FLAMINGO_REAL_DATA."""

import os
from pathlib import Path

import pytest

from polite_flamingo.io import open_image
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import load_source

ROOT = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA") or "absent")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not ROOT.is_dir(), reason="POLITE_FLAMINGO_REAL_DATA names no folder"),
]


@pytest.mark.parametrize(
    ("name", "folder", "split", "expected"),
    [
        ("coco", "coco", "train2017", 50),
        ("coco", "coco", "val2017", 70),
        ("vqav2", "vqa", "train", 39),
        ("aokvqa", "aokvqa", "val", 40),
        ("flickr8k", "flickr8k", "all", 15),
        ("vsr", "vsr", "local_images", 16),
        ("llava_eval", "llava", "val", 111),
        ("oasst", "text", "train", 100),
        ("gpteacher", "text", "train", 1000),
        ("alpaca", "text", "train", 999),
    ],
)
def test_a_reader_takes_every_official_row(name: str, folder: str, split: str, expected: int) -> None:
    if not (ROOT / folder).is_dir():
        pytest.skip(f"no folder {folder}")
    items = list(load_source(name).read(ROOT, folder, split, seed=1))
    assert [item for item in items if isinstance(item, Reject)] == []
    samples = [item for item in items if isinstance(item, Sample)]
    assert len({sample.id for sample in samples}) == len(samples) == expected
    for path in sorted({image.path for sample in samples for image in sample.images})[:10]:
        open_image(ROOT, path)


def test_boxes_of_coco_lie_within_the_image() -> None:
    samples = [s for s in load_source("coco").read(ROOT, "coco", "val2017", seed=1) if isinstance(s, Sample)]
    boxes = [box for sample in samples for box in sample.extras["boxes"]]
    assert len(boxes) == 414  # 418 of the file, less 4 crowds
    assert all(0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 for _, x1, y1, x2, y2 in boxes)
