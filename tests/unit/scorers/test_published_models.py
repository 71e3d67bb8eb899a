"""The way from a published model's folder to a score, for each architecture of the paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.scorers.published import clip_336, deberta, mpnet

from polite_flamingo.images import open_image
from polite_flamingo.model.origins import materialise
from polite_flamingo.scorers.base import ScoreQuestion, finite
from polite_flamingo.scorers.clip import load_clip
from polite_flamingo.scorers.nli import load_nli
from polite_flamingo.scorers.reward import load_reward
from polite_flamingo.scorers.sts import load_sts

PAIRS = [("a red circle", "the blue star is in the image"), ("the star is red", ""), ("круг " * 300, "yes " * 900)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


def in_place(source: Path, name: str, folder: Path) -> Path:
    """Through the stage that puts models in place, as a `local:` origin."""
    materialise(f"local:{source}", name, folder / name)
    return folder / name


def test_deberta_judges_pairs_in_the_order_its_config_names(folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    names = {0: "contradiction", 1: "neutral", 2: "entailment"}
    made = in_place(
        deberta(folder / "nli", id2label=names, label2id={name: i for i, name in names.items()}), "nli", tmp_path
    )
    model = AutoModelForSequenceClassification.from_pretrained(made).eval()
    tokenizer = AutoTokenizer.from_pretrained(made)
    rows = load_nli(made, device="cpu").logits(PAIRS)
    for pair, row in zip(PAIRS, rows, strict=True):
        with torch.inference_mode():
            # as lists: alone, the tokenizer takes an empty second text for none
            inputs = tokenizer([pair[0]], [pair[1]], truncation=True, max_length=64, return_tensors="pt")
            contradiction, neutral, entailment = model(**inputs).logits[0].tolist()
        assert row == pytest.approx([contradiction, entailment, neutral], abs=1e-4)


def test_deberta_with_one_output_is_a_reward_model(folder: Path, tmp_path: Path) -> None:
    made = in_place(deberta(folder / "reward", num_labels=1), "reward", tmp_path)
    rewards = load_reward(made, device="cpu").rewards(PAIRS)
    assert finite(rewards) and len(set(rewards)) == 3


def test_mpnet_embeds_with_its_pooling_and_normalisation(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    made = in_place(mpnet(folder / "sts"), "sts", tmp_path)
    assert {m["path"] for m in json.loads((made / "modules.json").read_text())} == {"", "1_Pooling", "2_Normalize"}
    model = SentenceTransformer(str(made), device="cpu")
    expected = [float(model.encode(a) @ model.encode(b)) for a, b in PAIRS]
    assert load_sts(made, device="cpu").similarity(PAIRS) == pytest.approx(expected, abs=1e-4)


def test_clip_reads_images_of_336_pixels_and_77_tokens(folder: Path, tmp_path: Path, image_root: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    made = in_place(clip_336(folder / "clip"), "clip", tmp_path)
    texts = ("red star. blue", "red " * 300)
    (row,) = load_clip(made, image_root=image_root, device="cpu").answer(
        [ScoreQuestion("caption", texts, ("red.png",))]
    )
    model, tokenizer = CLIPModel.from_pretrained(made).eval(), AutoTokenizer.from_pretrained(made)
    pixels = CLIPImageProcessorPil.from_pretrained(made)(
        images=[open_image(image_root, "red.png")], return_tensors="pt"
    )
    assert pixels["pixel_values"].shape[-1] == 336
    for text, score in zip(texts, row, strict=True):
        with torch.inference_mode():
            seen = model.get_image_features(**pixels).pooler_output[0]
            told = [
                model.get_text_features(
                    **tokenizer(piece, truncation=True, max_length=77, return_tensors="pt")
                ).pooler_output[0]
                for piece in text.split(".")[:10]
            ]
        told = [feature / feature.norm() for feature in told]
        assert score == pytest.approx(float(100 * (seen / seen.norm()) @ torch.stack(told).mean(0)), abs=1e-3)
