"""Image preprocessing equals the Hugging Face PIL processor."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polite_flamingo.errors import DataError, ImageError, ModelError
from polite_flamingo.images import ImagePreprocessor, open_image
from polite_flamingo.sources.forms.pictures import Pictures


def noise(width: int, height: int) -> Image.Image:
    rng = random.Random(0)
    return Image.frombytes("RGB", (width, height), rng.randbytes(width * height * 3))


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (100, 100), (20, 90)])
def test_pixels_equal_those_of_the_hugging_face_processor(size: tuple[int, int], tmp_path: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path)
    expected = processor(images=[noise(*size)], return_tensors="np")["pixel_values"][0]
    actual = ImagePreprocessor.from_folder(tmp_path)(noise(*size))
    assert actual.shape == (3, 32, 32)
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


def test_a_crop_larger_than_the_image_is_padded_as_hugging_face_pads() -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = {"do_resize": False, "size": {"shortest_edge": 8}, "crop_size": {"height": 33, "width": 30}}
    expected = CLIPImageProcessorPil(**config)(images=[noise(20, 21)], return_tensors="np")["pixel_values"][0]
    actual = ImagePreprocessor.from_config({**config, "do_center_crop": True})(noise(20, 21))
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    preprocessor = ImagePreprocessor.square(48)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor.to_config()))
    assert ImagePreprocessor.from_folder(tmp_path) == preprocessor


def test_a_folder_without_preprocessing_values_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        ImagePreprocessor.from_folder(tmp_path)


def test_a_config_without_a_size_is_refused() -> None:
    with pytest.raises(ModelError, match="size"):
        ImagePreprocessor.from_config({"do_resize": True})


@pytest.mark.parametrize(
    "error",
    [NotImplementedError, RuntimeError, IndexError, TypeError, AttributeError, MemoryError, OSError, struct.error],
)
def test_whatever_a_decoder_raises_is_an_error_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def refuse(*_: object, **__: object) -> None:
        raise error("odd bytes")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ImageError, match="cannot be decoded"):
        open_image(tmp_path, "a.png")
    with pytest.raises(DataError, match="no image"):
        Pictures(tmp_path, "d").locate((tmp_path / "a.png").read_bytes())


def test_links_in_a_circle_and_names_no_file_can_have_are_errors_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    for path in ("a.png", "c" * 300 + ".png", "n\0.png"):
        with pytest.raises(ImageError):
            open_image(tmp_path, path)


def test_an_image_is_seen_as_a_viewer_shows_it(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).reshape(8, 8)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "depth.png")
    assert np.asarray(open_image(tmp_path, "depth.png")).mean() == pytest.approx(127.5, abs=1)
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.putpixel((1, 1), (0, 0, 0, 255))
    drawing.save(tmp_path / "line.png")
    pixels = np.asarray(open_image(tmp_path, "line.png"))
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[1, 1].tolist() == [0, 0, 0]
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "height.tif")
    with pytest.raises(ImageError, match="image has numbers for pixels"):
        open_image(tmp_path, "height.tif")
