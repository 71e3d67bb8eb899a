from typing import Any

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.sources.forms import files


def row(number: int, *words: str, **values: Any) -> dict[str, Any]:
    return {"img_idx": number, "question": list(words), "answer": "yes", "task": "counting", **values}


QUESTIONS = [row(0, "is", "there", "a", "cow", "?"), row(12, "how", "many", ",", "say", "?", answer="two"), row(3, "x")]


def test_a_split_is_a_list_of_question_numbers(root, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            root.json("grid3d/grid-3d/questions.json", QUESTIONS)
            root.json("grid3d/grid-3d/test_idxs.json", [1, 0])
            root.image("grid3d/grid-3d/images/000012.png")
            (first, second), rejects = root.read("grid3d", "grid3d", "test")
            assert (first.id, first.instruction) == ("grid3d/test/0", "Is there a cow?")
            assert (second.id, second.instruction, second.response) == ("grid3d/test/1", "How many, say?", "two")
            assert first.images[0].path == "grid3d/grid-3d/images/0.png"
            assert second.images[0].path == "grid3d/grid-3d/images/000012.png"
            assert (second.extras["question_type"], rejects) == ("counting", [])


def test_the_small_training_split_has_a_name_of_its_own_form(root) -> None:
    root.json("grid3d/questions.json", QUESTIONS)
    root.json("grid3d/train_idxs_small.json", [2])
    (sample,), _ = root.read("grid3d", "grid3d", "train_small")
    assert sample.id == "grid3d/train_small/2"


def test_numbers_of_no_question_and_broken_rows_are_rejected(root) -> None:
    root.json("grid3d/questions.json", [row(0, answer=""), row(1), "text", row("7", "x"), row(2, "x")])
    root.json("grid3d/val_idxs.json", [0, 1, 2, 3, 4, 9])
    samples, rejects = root.read("grid3d", "grid3d", "val")
    assert len(samples) == 1
    assert [(r.row, r.reason) for r in rejects] == [
        ("0", "row has an empty 'answer'"),
        ("1", "row has an empty 'question'"),
        ("2", "row is not an object"),
        ("3", "'img_idx' is not of type int"),
        ("9", "number of no question"),
    ]


def test_a_listing_that_is_none_is_an_error(root) -> None:
    for listing in [{"a": 1}, [True], ["1"], [-1]]:
        with root.case(listing):
            root.json("grid3d/questions.json", QUESTIONS)
            root.json("grid3d/val_idxs.json", listing)
            with pytest.raises(DataError, match="not a list of question numbers"):
                root.read("grid3d", "grid3d", "val")
