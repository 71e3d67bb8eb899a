"""Each scorer writes the column the paper's code computes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cases import case

from polite_flamingo.errors import ModelError
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers import reward
from polite_flamingo.scorers.nli import load_nli, nli_label, nli_pair
from polite_flamingo.scorers.reward import load_reward
from polite_flamingo.scorers.rouge import rouge_l, rouge_score
from polite_flamingo.scorers.sts import load_sts


def rewrite(
    raw: str = "red",
    text: str = "The circle is red.",
    task: Task = Task.VQA,
    images: tuple[str, ...] = (),
    question: str = "What is it?",
    extras: Mapping[str, Any] | None = None,
) -> Rewrite:
    pictures = tuple(Image(path) for path in images)
    return Rewrite("s/train/1", "s", "train", "-", task, question, pictures, raw, text, "stop", extras or {})


# Rouge-L


def test_rouge_l_is_the_f_measure_with_stemming() -> None:
    for text, reference, expected in [
        ("the cat sat", "the cat sat", 1.0),
        ("a dog", "the cat", 0.0),
        ("the cat was sitting", "the cat sits", 2 * 0.75 * 1.0 / 1.75),  # sitting and sits share the stem
        ("red", "", 0.0),
    ]:
        with case(text, reference, expected):
            assert rouge_l(text, reference) == pytest.approx(expected)


def test_rouge_is_rounded_as_published() -> None:
    assert rouge_score(rewrite("a b c", "a b c d e f g")) == 0.6
    assert rouge_score(rewrite("x y z", "x q r s")) == 0.2857


@pytest.mark.real_data
def test_the_published_record_has_its_published_rouge_score() -> None:
    folder = os.environ.get("POLITE_FLAMINGO_REAL_DATA")
    path = Path(folder or "absent") / "pf1m_record.json"
    if not path.is_file():
        pytest.skip("POLITE_FLAMINGO_REAL_DATA names no folder with pf1m_record.json")
    record = json.loads(path.read_text())
    assert rouge_score(rewrite(record["original"], record["output"])) == record["rouge_score"]


# NLI


def test_the_wording_is_the_papers_and_the_rewrite_is_the_premise() -> None:
    premise, hypothesis = nli_pair("What is it?", "It is red.", "red")
    assert premise == '"It is red." is the answer to the question: "What is it?"'
    assert hypothesis == '"red" is the answer to the question: "What is it?"'


def test_logits_come_as_contradiction_entailment_neutral_whatever_the_models_order(nli_folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(nli_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(nli_folder)
    premise, hypothesis = nli_pair("What is it?", "The circle is red.", "red")
    with torch.inference_mode():
        inputs = tokenizer(premise, hypothesis, truncation=True, max_length=32, return_tensors="pt")
        entailment, neutral, contradiction = model(**inputs).logits[0].tolist()
    (row,) = load_nli(nli_folder, device="cpu").score([rewrite()])
    assert row == pytest.approx([contradiction, entailment, neutral], abs=1e-3)


def test_the_label_is_that_of_the_largest_logit() -> None:
    assert [nli_label(x) for x in ([1, 0, 0], [0, 1, 0], [0, 0, 1])] == ["contradiction", "entailment", "neutral"]


def test_only_vqa_gets_nli_logits_and_order_is_kept(nli_folder: Path) -> None:
    scorer = load_nli(nli_folder, device="cpu", batch_size=2)
    a, b = rewrite(text="yes " * 20), rewrite(text="no")
    scores = scorer.score([a, rewrite(task=Task.CAPTION), b])
    assert scores[1] is None
    assert scores[0] == pytest.approx(scorer.score([a])[0], abs=1e-3)
    assert scores[2] == pytest.approx(scorer.score([b])[0], abs=1e-3)
    assert scores[0] != scores[2]


def test_a_model_that_does_not_name_its_labels_is_refused(reward_folder: Path) -> None:
    with pytest.raises(ModelError, match="contradiction, entailment, neutral"):
        load_nli(reward_folder, device="cpu")


# Reward


def test_reward_is_one_number_for_rewritten_and_for_raw(reward_folder: Path) -> None:
    scorer = load_reward(reward_folder, device="cpu")
    records = [rewrite(), rewrite(raw="blue star", text="There is a blue star.")]
    rewritten, raw = scorer.score(records), scorer.answer([reward.ask_raw(record) for record in records])
    assert rewritten != raw
    assert raw[0] == pytest.approx(scorer.rewards([("What is it?", "red")])[0], abs=1e-3)
    assert rewritten[1] == pytest.approx(scorer.rewards([("What is it?", "There is a blue star.")])[0], abs=1e-3)


def test_a_model_with_three_outputs_is_no_reward_model(nli_folder: Path) -> None:
    with pytest.raises(ModelError, match="one output"):
        load_reward(nli_folder, device="cpu")


def test_text_longer_than_the_model_is_cut(reward_folder: Path) -> None:
    scorer = load_reward(reward_folder, device="cpu")
    assert scorer.rewards([("what", "red " * 500)])[0] == pytest.approx(scorer.rewards([("what", "red " * 900)])[0])


def test_a_missing_or_empty_model_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    for load in [load_nli, load_reward, load_sts]:
        with case(load):
            with pytest.raises(ModelError, match="does not exist"):
                load(tmp_path / "nowhere", device="cpu")
            with pytest.raises(ModelError, match="cannot be loaded"):
                load(tmp_path, device="cpu")


def test_weights_that_are_not_safetensors_are_refused(reward_folder: Path, tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "pickled"
    shutil.copytree(reward_folder, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_reward(folder, device="cpu")


# STS


def test_similarity_is_the_cosine_of_the_embeddings(sts_folder: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(sts_folder), device="cpu")
    a, b = "a red circle", "the blue star is in the image"
    u, v = model.encode([a, b], convert_to_tensor=True)
    scorer = load_sts(sts_folder, device="cpu")
    assert scorer.similarity([(a, b), (a, a)]) == pytest.approx(
        [float(torch.cosine_similarity(u, v, dim=0)), 1.0], abs=1e-4
    )
    assert scorer.score([rewrite(b, a)]) == [round(scorer.similarity([(a, b)])[0], 4)]
    assert scorer.similarity([]) == []
