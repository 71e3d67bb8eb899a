"""Images of another size than the tower's: interpolated position embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.model.micro import build_micro
from transformers import CLIPVisionConfig, CLIPVisionModel

from polite_flamingo.ablations.variants import variants
from polite_flamingo.errors import ModelError
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.model.checkpoint import save_trainables, trained_resolution
from polite_flamingo.model.efficientnet import EfficientNetLiteConfig
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.tower import position_code, resize_vision
from polite_flamingo.params.reading import load_params

ROOT = Path(__file__).resolve().parents[2]


def vision(pixels=224, patch=14):
    torch.manual_seed(1)
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            image_size=pixels, patch_size=patch,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize("pixels", [336, 112])
def test_a_tower_of_224_runs_at_another_size_as_hugging_face_interpolates_it(pixels):
    ours, theirs, images = vision(), vision(), torch.randn(2, 3, pixels, pixels)
    resize_vision(ours, pixels)
    with torch.no_grad():
        expected = theirs(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
        assert torch.allclose(ours(pixel_values=images).last_hidden_state, expected, atol=1e-5)


def test_the_state_of_a_224_tower_loads_at_336_and_keeps_all_but_the_positions(tmp_path):
    old, new = vision(), vision()
    resize_vision(new, 336)
    new.save_pretrained(tmp_path)
    again = CLIPVisionModel.from_pretrained(tmp_path)
    assert again.config.image_size == 336
    for name, tensor in old.state_dict().items():
        found = again.state_dict()[name]
        if "position_embedding" in name:
            assert found.shape == (24 * 24 + 1, 16) and torch.equal(found[0], tensor[0])
        else:
            assert torch.equal(found, tensor)


def test_a_size_between_patches_is_refused_with_the_nearest_one():
    with pytest.raises(ModelError, match="336"):
        resize_vision(vision(), 333)


def test_figure_9_of_a_convolutional_tower_counts_in_its_stride_which_its_file_does_not_name(tmp_path, monkeypatch):
    params = load_params(ROOT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    EfficientNetLiteConfig().save_pretrained(params.models / "backbones" / "flamingo" / "vision")
    (side,) = (v.changes["tune.common.resolution"] for v in variants(params) if v.name == "resolution")
    assert side == 128


def test_the_position_code_keeps_its_scale_at_another_size():
    coarse, fine = position_code(16, 32), position_code(64, 32, grid=4)
    pooled = fine.view(4, 2, 4, 2, 32).mean(dim=(1, 3)).view(16, 32)
    assert (pooled - coarse).abs().max() < 0.05
    assert torch.equal(position_code(16, 32, grid=4), coarse)


def test_the_preprocessing_follows_the_size():
    picture = Image.new("RGB", (50, 40))
    for old in (ImagePreprocessor.square(32), ImagePreprocessor(size=(32, 32), crop=None)):
        assert old.resized(48)(picture).shape == (3, 48, 48)


def test_a_flamingo_loaded_at_another_size_sees_more_patches(micro_flamingo_folder, image_root):
    bundle = load_flamingo(micro_flamingo_folder, resolution=48)
    assert bundle.encode_images(["0.png"], image_root).shape == (1, 36, 32)
    assert bundle.resolution == 48
    assert bundle.base_hash == load_flamingo(micro_flamingo_folder).base_hash


def test_the_towers_own_size_changes_nothing(micro_flamingo_folder, image_root):
    plain, asked = load_flamingo(micro_flamingo_folder), load_flamingo(micro_flamingo_folder, resolution=32)
    assert asked.resolution is None
    assert torch.equal(plain.encode_images(["0.png"], image_root), asked.encode_images(["0.png"], image_root))


def test_trained_weights_bring_their_resolution_along(micro_flamingo_folder, image_root, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder, resolution=48)
    set_trainable(bundle, ["vision"])
    with torch.no_grad():
        for tensor in trainable_tensors(bundle).values():
            tensor.add_(0.01)
    bundle.clear_cache()
    save_trainables(bundle, tmp_path)
    assert trained_resolution(tmp_path) == 48
    again = load_flamingo(micro_flamingo_folder, trainables=tmp_path)
    assert torch.equal(again.encode_images(["0.png"], image_root), bundle.encode_images(["0.png"], image_root))
    with pytest.raises(ModelError, match="another resolution"):
        load_flamingo(micro_flamingo_folder, trainables=tmp_path, resolution=32)


def test_a_resized_model_keeps_its_code_when_saved(image_root, tmp_path):
    built = build_micro()
    save_flamingo(built, tmp_path / "a")
    big = load_flamingo(tmp_path / "a", resolution=48)
    save_flamingo(big, tmp_path / "b")
    again = load_flamingo(tmp_path / "b")
    assert again.config.vision_tokens.grid == 4 and again.resolution is None
    assert torch.equal(again.encode_images(["0.png"], image_root), big.encode_images(["0.png"], image_root))
