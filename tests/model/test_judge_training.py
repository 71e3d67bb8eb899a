"""Training of the laptop's judges: resumed after a kill, kept small, ready for the scorers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.model.micro import micro_tokenizer

from polite_flamingo.io.text import read_json
from polite_flamingo.laptop import adapters, image_text
from polite_flamingo.laptop.adapters import AdapterRecipe, Judge, fine_tune
from polite_flamingo.model import origins
from polite_flamingo.model.image_text import Projections, load_projections, save_projections
from polite_flamingo.model.int8 import load_int8
from polite_flamingo.model.origins import materialise
from polite_flamingo.model.vetting import read_safetensors

LABELS = ("contradiction", "entailment", "neutral")
PAIRS = [("a red circle", "a circle", 1), ("a red circle", "no circle", 0), ("a red circle", "a dog", 2)] * 4


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    from transformers import BertConfig, BertModel

    tokenizer = micro_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def _train(encoder: Path, state: Path, steps: int = 0) -> Judge:
    recipe = AdapterRecipe(rank=2, learning_rate=1e-2, batch=4, steps=steps)
    judge = Judge(encoder, LABELS, recipe, "cpu", seed=1)

    def loss(logits: Any, pairs: Any) -> torch.Tensor:
        labels = torch.tensor([label for _, _, label in pairs])
        return torch.nn.functional.cross_entropy(logits([(a, b) for a, b, _ in pairs]), labels)

    fine_tune(judge, [PAIRS, PAIRS], loss, lambda pair: len(pair[0]), recipe, state, seed=1)
    return judge


def test_a_killed_training_ends_as_an_unbroken_one_and_its_adapter_becomes_the_plain_model(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForSequenceClassification

    base = "pypi:encoder"  # an adapter may name no folder of this machine
    monkeypatch.setattr(origins, "_base_of", lambda _: f"local:{encoder}")

    whole = _train(encoder, tmp_path / "whole.pt")
    _train(encoder, tmp_path / "broken.pt", steps=2)
    judge = _train(encoder, tmp_path / "broken.pt")
    assert all(torch.equal(tensor, judge.learned[name]) for name, tensor in whole.learned.items())

    judge.round()
    logits = judge.measure([(a, b) for a, b, _ in PAIRS])
    judge.save(tmp_path / "adapter", base)
    origins.round_adapter(tmp_path / "adapter", tmp_path / "shipped")
    kept, shipped = read_safetensors(tmp_path / "adapter" / "adapter_model.safetensors"), tmp_path / "shipped"
    again = load_int8(shipped, origins.ADAPTER_INT8)
    assert kept.keys() == again.keys() and all(torch.equal(tensor, again[name]) for name, tensor in kept.items())
    config = read_json(tmp_path / "adapter" / "adapter_config.json")
    assert config["base_model_name_or_path"] == base
    materialise(f"local:{tmp_path / 'adapter'}", "nli", tmp_path / "merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    inputs = judge.tokenizer([a for a, _, _ in PAIRS], [b for _, b, _ in PAIRS], return_tensors="pt", padding=True)
    with torch.no_grad():
        assert torch.allclose(merged(**inputs).logits, logits, atol=1e-5)
    assert merged.config.id2label == dict(enumerate(LABELS))


def test_projections_learn_which_caption_is_whose_and_are_kept_as_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_text, "SAVE_EVERY", 10)
    torch.manual_seed(0)
    paths = tuple(f"{i}.jpg" for i in range(6))
    captioned = image_text.Captioned(paths, tuple((f"true {p}",) for p in paths), tuple((f"false {p}",) for p in paths))
    maps = {path: torch.randn(4, image_text.CHANNELS).half() for path in paths}
    texts = [text for group in (captioned.texts, captioned.swapped) for own in group for text in own]
    rows, embeddings = {text: row for row, text in enumerate(texts)}, torch.randn(len(texts), 8)

    def train(steps: int, state: str) -> Projections:
        torch.manual_seed(1)
        heads = Projections(8, width=16, heads=2, tokens=4)
        recipe = image_text.ContrastiveRecipe(steps=steps, batch=6, learning_rate=1e-2, width=16)
        image_text._fit(heads, captioned, maps, embeddings, rows, recipe, tmp_path / state, "cpu")
        return heads

    heads = train(40, "state.pt")
    save_projections(heads, tmp_path / "clip", text="local:text", tower="pypi:tower", image_size=224)
    figures = image_text.measure_image_text(
        load_projections(tmp_path / "clip"), captioned, maps, embeddings, rows, "cpu"
    )
    auc = figures["auc"]
    assert auc["value"] > 0.9 and auc["low"] <= auc["value"] <= auc["high"] and figures["swapped_below"]["value"] == 1
    resumed = train(40, "state.pt")  # from the last checkpoint
    for name, tensor in heads.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_area_under_a_curve_is_drawn_by_photograph_ties_counted_half(monkeypatch: pytest.MonkeyPatch) -> None:
    higher, lower, own = np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 0.0]), np.array([0, 0, 1])
    monkeypatch.setattr(image_text, "resample_counts", lambda *_: iter([np.array([[1.0, 1.0], [2.0, 0.0]])]))
    found = image_text.area_by_photograph(higher, lower, own)
    both, first = image_text.area_under_curve(higher, lower), image_text.area_under_curve(higher[:2], lower[:2])
    assert found["value"] == both and found["n"] == 3
    assert min(both, first) < found["low"] < found["high"] < max(both, first)


def test_an_interval_is_wilsons() -> None:
    found = adapters.share([True] * 8 + [False] * 2)
    assert found == {"value": 0.8, "low": 0.4902, "high": 0.9433, "n": 10}
