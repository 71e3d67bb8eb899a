"""The tiny models as fixtures, and a few images."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.scorers.models import clip_model, cross_encoder, sentence_encoder


@pytest.fixture(scope="session")
def nli_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(
        tmp_path_factory.mktemp("nli"), id2label={0: "ENTAILMENT", 1: "neutral", 2: "contradiction"}, num_labels=3
    )


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("reward"), num_labels=1)


@pytest.fixture(scope="session")
def sts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_encoder(tmp_path_factory.mktemp("sts") / "model")


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_model(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("green", (0, 255, 0))):
        Image.new("RGB", (20, 24), color).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes((folder / "red.png").read_bytes()[:40])
    return folder
