"""Right rewrites: each rule keeps what the rewrite says out of the raw answer, and leaves out what it cannot say."""

import json
from pathlib import Path
from random import Random

import pytest

from polite_flamingo.calibrate.clean import another_caption, clean_rewrites, third_rationale, verdict
from polite_flamingo.calibrate.statements import deny, state
from polite_flamingo.errors import DataError
from polite_flamingo.records import Sample, Task, Turn


def sample(answer: str, task: Task = Task.VQA, **extras: object) -> Sample:
    return Sample("s", "x", "val", "", task, (Turn("human", "Q?"), Turn("assistant", answer)), (), extras)


def test_question_and_answer_make_a_sentence_or_none() -> None:
    for question, answer, sentence in (
        ("How many cats are there in the image?", "2", "There are 2 cats in the image."),
        ("How many cats are there in the image?", "1", "The number of cats in the image is 1."),
        ("How many people are wearing hats?", "0", "There are no people wearing hats."),
        ("Does umbrella exist in the image?", "Yes.", "Yes, there is an umbrella in the image."),
        ("Does scissors exist in the image?", "No.", "No, there are no scissors in the image."),
        ("Is there a dog?", "no", "No, there is not a dog."),
        ("Are those bananas ripe?", "yes", "Yes, those bananas are ripe."),
        ("What color is the bus?", "red", "The bus is red."),
        ("What kind of animal is shown?", "dog", "The animal is dog."),
        ("Why is he smiling?", "happy", None),
        ("Where are they?", "beach", None),
    ):
        assert state(question, answer) == sentence, question


def test_a_false_statement_is_denied_at_its_verb() -> None:
    assert all("cat is not on the mat" in deny("The cat is on the mat", Random(seed)) for seed in range(9))


def test_a_verdict_is_made_of_true_and_false_alone() -> None:
    assert verdict(sample("Maybe", statement="The cat is on the mat."), Random(1)) is None


def test_captions_in_the_rewrite_are_not_in_the_raw_answer() -> None:
    captions = ["A cat sits.", "A dog runs.", "A bus stops.", "A man eats."]
    for seed in range(20):
        made = another_caption(sample("x", Task.CAPTION, captions=captions, boxes=[]), Random(seed))
        assert made is not None
        raw, rewritten = made
        told = rewritten.split("\n\n")
        assert len(told) in (1, 2)
        assert sorted([*raw.split("\n"), *told]) == sorted(captions)


def test_a_rationale_told_is_not_in_the_raw_answer() -> None:
    made = third_rationale(sample("x", short_answer="salt", rationales=["One.", "Two.", "Three."]), Random(2))
    assert made is not None
    raw, rewritten = made
    assert "salt" in raw
    assert "salt" in rewritten
    assert [word in raw for word in ("One", "Two", "Three")].count(False) == 1
    assert not any(word in raw and word in rewritten for word in ("One", "Two", "Three"))


def write_edits(root: Path, count: int) -> None:
    rows = [
        {"uid": f"u{i}", "img0": f"{i}a.jpg", "img1": f"{i}b.jpg", "sents": ["Make it bright", f"Brighten {i}"]}
        for i in range(count)
    ]
    (root / "change").mkdir()
    (root / "change" / "image_editing_request_valid.json").write_text(json.dumps(rows))


def test_what_is_drawn_depends_on_the_seed_and_images_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    write_edits(tmp_path, 30)
    first = list(clean_rewrites(tmp_path, seed=1, per_offer=10))
    assert len(first) == 10
    assert first == list(clean_rewrites(tmp_path, seed=1, per_offer=10))
    assert [r.id for r in first] != [r.id for r in clean_rewrites(tmp_path, seed=2, per_offer=10)]
    assert not any(r.images for r in first)
    assert all(r.extras.keys() <= {"boxes", "choices", "short_answer"} for r in first)


def test_a_folder_without_any_of_the_datasets_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="coco"):
        list(clean_rewrites(tmp_path, seed=1))
