"""Marked objects of RefCOCO on real images. Needs a data root with real files; see POLITE_FLAMINGO_REAL_DATA."""

import os
import shutil
from pathlib import Path

import pytest

from polite_flamingo.images import open_image
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import load_source

ROOT = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA") or "absent")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not (ROOT / "refcoco").is_dir(), reason="POLITE_FLAMINGO_REAL_DATA names no folder with refcoco"
    ),
]
SENTENCES = {"refcocog_test": 2, "refcocog_val": 11, "refcoco_testA": 12, "refcoco+_testA": 11}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that can be written to: drawn images go into the data root."""
    copy = tmp_path_factory.mktemp("data")
    for folder in ("refcoco", "coco/train2017"):
        shutil.copytree(ROOT / folder, copy / folder, copy_function=shutil.copyfile)
    return copy


@pytest.mark.parametrize(("split", "sentences"), SENTENCES.items())
def test_every_sentence_is_read_and_its_object_marked(root: Path, split: str, sentences: int) -> None:
    items = list(load_source("refcoco").read(root, "refcoco", split, seed=1))
    assert [item for item in items if isinstance(item, Reject)] == []
    samples = [item for item in items if isinstance(item, Sample)]
    assert sum(len(sample.extras["captions"]) for sample in samples) == sentences
    for sample in samples:
        ((drawn, origin),) = sample.extras["derived_from"].items()
        assert open_image(root, drawn).size == open_image(root, origin["image"]).size
