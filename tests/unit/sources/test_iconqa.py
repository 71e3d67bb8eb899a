from typing import Any

import pytest

from polite_flamingo.errors import DataError

TEXT = {"question": "What comes next?", "choices": ["cat", "dog"], "answer": 1, "ques_type": "choose_txt"}
PICTURES = {"question": "Which is next?", "choices": ["choice_0.png", "choice_1.png"], "answer": 0}
BLANK = {"question": "How many? _", "answer": "7"}


def put(root: Any, kind: str, name: str, record: Any, base: str = "iconqa/iconqa/test") -> None:
    root.json(f"{base}/{kind}/{name}/data.json", record)


def test_the_three_kinds_are_read_in_number_order(root) -> None:
    for name in ("10", "9"):
        put(root, "choose_txt", name, TEXT)
    put(root, "choose_img", "3", PICTURES)
    put(root, "fill_in_blank", "4", BLANK)
    samples, rejects = root.read("iconqa", "iconqa", "test")
    names = ["choose_txt-9", "choose_txt-10", "choose_img-3", "fill_in_blank-4"]
    assert ([s.id.rpartition("/")[2] for s in samples], rejects) == (names, [])
    assert (samples[0].instruction, samples[0].response) == ("What comes next? cat, or dog?", "dog")
    assert samples[0].images[0].path == "iconqa/iconqa/test/choose_txt/9/image.png"
    assert (samples[3].instruction, samples[3].response) == ("How many? _", "7")


def test_choices_that_are_pictures_follow_the_questions_picture(root) -> None:
    put(root, "choose_img", "3", PICTURES)
    (sample,), _ = root.read("iconqa", "iconqa", "test_choose_img")
    assert (sample.instruction, sample.response) == ("Which is next? picture 1, or picture 2?", "picture 1")
    assert [i.path.rpartition("/")[2] for i in sample.images] == ["image.png", "choice_0.png", "choice_1.png"]
    assert sample.turns[0].images == (0, 1, 2)


def test_one_kind_is_a_split_of_its_own(root) -> None:
    put(root, "choose_txt", "1", TEXT, "iconqa/iconqa_data/iconqa/val")
    put(root, "fill_in_blank", "2", BLANK, "iconqa/iconqa_data/iconqa/val")
    (sample,), _ = root.read("iconqa", "iconqa", "val_fill_in_blank")
    assert sample.id == "iconqa/val_fill_in_blank/fill_in_blank-2"


def test_a_broken_question_loses_only_itself(root) -> None:
    for kind, values, reason in [
        ("choose_txt", {"answer": 2}, "'answer' names no choice"),
        ("choose_txt", {"choices": ["cat", " "]}, "a choice is blank"),
        ("choose_txt", {"choices": None}, "row lacks 'choices'"),
        ("choose_img", {"choices": ["../a.png", "b.png"], "answer": 0}, "image path leaves the data root"),
        ("choose_img", {"choices": ["a.png", "a.png"], "answer": 0}, "a picture is there twice"),
        ("fill_in_blank", {"answer": ""}, "row has an empty 'answer'"),
        ("fill_in_blank", {"question": None}, "row lacks 'question'"),
    ]:
        with root.case(kind, values, reason):
            put(root, kind, "1", {**TEXT, **values})
            put(root, "fill_in_blank", "2", BLANK)
            samples, (reject,) = root.read("iconqa", "iconqa", "test")
            assert (len(samples), reject.row, reject.reason) == (1, "1", reason)
            assert reject.file == f"iconqa/iconqa/test/{kind}/1/data.json"


def test_a_missing_or_broken_data_file_loses_only_itself(root) -> None:
    root.text("iconqa/test/choose_txt/1/data.json", "{")
    root.image("iconqa/test/choose_txt/2/image.png")
    put(root, "choose_txt", "3", TEXT, "iconqa/test")
    samples, rejects = root.read("iconqa", "iconqa", "test")
    assert (len(samples), [r.row for r in rejects]) == (1, ["1", "2"])


def test_a_folder_without_questions_is_an_error(root) -> None:
    root.text("iconqa/readme.txt", "")
    with pytest.raises(DataError, match="no questions found"):
        root.read("iconqa", "iconqa", "test")
