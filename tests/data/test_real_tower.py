"""The laptop's vision tower knows what it was trained to know. Needs the `laptop` extra and a data root."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from polite_flamingo.images import open_image
from polite_flamingo.laptop.base import TOWER
from polite_flamingo.model.efficientnet import EfficientNetLiteConfig
from polite_flamingo.model.origins import package_folder
from polite_flamingo.model.shipped import load_tower, squeezed

PHOTOS = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA") or "absent") / "photos"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not PHOTOS.is_dir(), reason="POLITE_FLAMINGO_REAL_DATA names no folder with photos"),
    pytest.mark.skipif(importlib.util.find_spec(TOWER.replace("-", "_")) is None, reason=f"{TOWER} is not installed"),
]
ZEBRA = [340, 351, 9, 352, 353]  # ImageNet's classes: zebra, hartebeest, ostrich, impala, gazelle
BANANA = [954, 950, 951, 953, 957]  # banana, orange, lemon, pineapple, pomegranate


def test_five_likeliest_classes_of_two_photographs() -> None:
    tower = load_tower(TOWER, EfficientNetLiteConfig())
    weights = torch.load(next((package_folder(TOWER) / "models").glob("*.pth")), map_location="cpu", weights_only=True)
    names = ("coco/val2014_224/COCO_val2014_000000016716.jpg", "coco/val2014_224/COCO_val2014_000000016161.jpg")
    pixels = torch.stack([squeezed(tower.config.image_size)(open_image(PHOTOS, name)) for name in names])
    with torch.no_grad():
        pooled = tower(pixel_values=pixels).pooler_output
    logits = pooled @ weights["_fc.weight"].T + weights["_fc.bias"]
    likely = logits.softmax(-1).topk(5)
    assert likely.indices.tolist() == [ZEBRA, BANANA]
    assert likely.values[:, 0].tolist() == pytest.approx([1.0, 0.96], abs=0.01)
