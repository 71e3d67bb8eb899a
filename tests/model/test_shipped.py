"""A Flamingo on a convolutional tower, and one put together from packages and shipped weights."""

from __future__ import annotations

import pytest
import torch
from tests.model.micro import with_open_gates

from polite_flamingo.errors import ModelError
from polite_flamingo.images import ImagePreprocessor
from polite_flamingo.io.text import write_json
from polite_flamingo.model import shipped
from polite_flamingo.model.bundle import build_flamingo, named_tensors
from polite_flamingo.model.config import FlamingoConfig, Perceiver, VisionTokens
from polite_flamingo.model.efficientnet import EfficientNetLite, EfficientNetLiteConfig
from polite_flamingo.model.flamingo import connector_tensors, load_flamingo, save_flamingo
from polite_flamingo.model.int8 import save_int8
from polite_flamingo.model.lora import inject_lora, merge_lora
from polite_flamingo.model.settings import LoraSettings

VISION = EfficientNetLiteConfig(size="lite0", image_size=64, hidden_size=32)
CONFIG = FlamingoConfig(
    cross_attn_every_n_layers=1,
    perceiver=Perceiver(depth=1, num_latents=4, dim_head=8, heads=2),
    vision_tokens=VisionTokens(unit_variance=True, position_code=True),
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory, micro_flamingo_folder):
    """A micro Flamingo on EfficientNet-Lite0 with random weights, its folder, and that of its language model."""
    folder, language = tmp_path_factory.mktemp("convolutional"), micro_flamingo_folder / "lm"
    bundle = flamingo(language)
    save_flamingo(bundle, folder)
    return bundle, folder, language


def tower() -> EfficientNetLite:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return EfficientNetLite(VISION).eval()


def flamingo(language):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(language), AutoTokenizer.from_pretrained(language)
    processor = shipped.squeezed(VISION.image_size)
    return with_open_gates(build_flamingo(model, tokenizer, tower(), config=CONFIG, image_processor=processor))


def test_a_base_with_a_convolutional_tower_loads_as_it_was_saved(parts):
    bundle, folder, _ = parts
    again = load_flamingo(folder)
    assert isinstance(again.tower.visual, EfficientNetLite) and again.image_processor == bundle.image_processor
    ours, theirs = named_tensors(bundle.model), named_tensors(again.model)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(bundle.tower(pixels), again.tower(pixels))


def test_a_convolutional_tower_takes_larger_pictures_with_the_places_it_knew(parts):
    larger = load_flamingo(parts[1], resolution=128)
    assert larger.tower.size == (16, 32) and larger.config.vision_tokens.grid == 2
    assert larger.image_processor == ImagePreprocessor(
        size=(128, 128), crop=None, mean=larger.image_processor.mean, std=larger.image_processor.std
    )
    with torch.no_grad():
        assert larger.tower(torch.randn(1, 3, 128, 128)).shape == (1, 16, 32)
    with pytest.raises(ModelError, match="128"):
        load_flamingo(parts[1], resolution=120)


def test_shipped_weights_make_the_model_that_was_measured(parts, monkeypatch, tmp_path):
    bundle, _, language = parts
    monkeypatch.setattr(shipped, "load_tower", lambda *_: tower())
    rewriter = flamingo(language)
    inject_lora(rewriter, LoraSettings(r=4), seed=1)
    learned = {name: tensor for name, tensor in named_tensors(rewriter.model).items() if ".lora_" in name}
    with torch.no_grad():
        for tensor in learned.values():
            tensor.normal_(std=0.1)
    save_int8(learned, tmp_path, "rewriter")
    save_int8(connector_tensors(bundle.model), tmp_path, "connector")
    write_json(tmp_path / shipped.LORA, LoraSettings(r=4).model_dump())
    shipped.describe_base(tmp_path, language="micro", tower="lite0", vision=VISION, config=CONFIG, seed=0)
    described = shipped.read_json(tmp_path / shipped.DESCRIBED) | {"language": f"local:{language}"}
    write_json(tmp_path / shipped.DESCRIBED, described)

    shipped.put_int8(rewriter, tmp_path, "connector")
    shipped.put_int8(rewriter, tmp_path, "rewriter")
    merge_lora(rewriter)
    loaded = named_tensors(shipped.load_shipped(tmp_path, tmp_path).model)
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in named_tensors(rewriter.model).items())
    with pytest.raises(ModelError, match="do not fit"):
        shipped.put_int8(bundle, tmp_path, "rewriter")  # it has no adapters
