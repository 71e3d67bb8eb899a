"""What the columns of a table are taken for, by their names and what stands in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.start.forms import photograph
from tests.unit.start.test_init import read, table

from polite_flamingo.errors import DataError
from polite_flamingo.start import tables
from polite_flamingo.start.columns import guess
from polite_flamingo.start.recognise import first_look, recognise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photograph(tmp_path / "mine" / "images" / "1.png")
    return tmp_path / "mine"


def embedded(folder: Path) -> dict[str, Any]:
    return {"bytes": (folder / "images" / "1.png").read_bytes(), "path": "1.png"}


@pytest.mark.parametrize(
    "columns",
    [
        {"choices": ["red", "green", "blue"], "answer": 1},
        {"choices": ["red", "green", "blue"], "correct_choice_idx": 1},
        {"options": ["A. red", "B. green", "C. blue"], "answer": "B"},
        {"options": "['red', 'green', 'blue']", "answer": "(B)"},
        {"choices": ["red", "green", "blue"], "answer": "green"},
        {"A": "red", "B": "green", "C": "blue", "D": "", "answer": "B"},
        {"option_a": "red", "option_b": "green", "option_c": "blue", "answer": "b"},
        {"choices": {"A": "red", "B": "green", "C": "blue"}, "answer": "B"},
        {"choices": {"label": ["A", "B", "C"], "text": ["red", "green", "blue"]}, "answerKey": "B"},
    ],
)
def test_a_choice_is_written_out_whether_it_is_given_by_number_letter_or_text(
    folder: Path, columns: dict[str, Any]
) -> None:
    record = {"question": "What colour?", "image": "images/1.png", **columns}
    (folder / "a.json").write_text(json.dumps([record]))
    (sample,), rejects = read(folder)
    assert rejects == []
    assert (sample.instruction, sample.response) == ("What colour? red, green, or blue?", "green")
    assert sample.extras == {"choices": ["red", "green", "blue"], "answers": ["green"]}


def test_choices_counted_from_one_are_not_taken_for_their_neighbours(folder: Path) -> None:
    rows = [{"question": "What?", "choices": ["red", "green"], "answer": place, "file": "1.png"} for place in (1, 2)]
    columns = guess(rows, folder)
    assert "choices" not in columns.mapping
    assert columns.notes[0] == (
        "the choices in choices are not used: 'answer' names none by text, letter or number from 0 in 1 rows"
    )
    (folder / "a.json").write_text(json.dumps([*rows[:1] * 30, *rows[1:]]))
    samples, (reject,) = read(folder)  # of many, one that names none goes to quarantine
    assert len(samples) == 30 and reject.reason == "answer names none of the choices"


def test_where_an_image_came_from_is_no_second_image(folder: Path) -> None:
    row = {"image": embedded(folder), "caption": ["Two boxes."], "file_name": "1.jpg", "url": "http://host/1.jpg"}
    pq.write_table(pa.Table.from_pylist([row]), folder / "a.parquet")
    (sample,), _ = read(folder)
    assert (str(sample.task), len(sample.images)) == ("caption", 1)
    names = [{"image": "images/1.png", "link": "http://host/1.png", "thumb": "small/1.png", "caption": "Two boxes."}]
    assert guess(names, folder).mapping == {"task": "caption", "answer": "caption", "image": "image"}


def test_answers_are_found_in_objects_and_in_lists_written_as_text(folder: Path) -> None:
    several = [{"answer": "net", "answer_id": n} for n in (1, 2)] + [{"answer": "fence", "answer_id": 3}]
    for answers in (several, "['net', 'net', 'fence']", '["net", "net", "fence"]'):
        (folder / "a.json").write_text(json.dumps([{"question": "What?", "answers": answers, "image": "1.png"}]))
        (sample,), rejects = read(folder)
        assert (sample.response, sample.extras["answers"], rejects) == ("net", ["net", "net", "fence"], [])
    (folder / "a.json").write_text(json.dumps({"data": [{"pic": "1.png", "qa": {"question": "Red?", "answer": True}}]}))
    (sample,), _ = read(folder)
    assert (sample.instruction, sample.response, sample.images[0].path) == ("Red?", "True", "mine/images/1.png")


def test_an_image_named_by_its_id_alone_is_not_left_out(folder: Path) -> None:
    table(folder / "a.csv", [("1", "How many?", "2")], ("image_id", "question", "answer"))
    (sample,), _ = read(folder)
    assert (str(sample.task), sample.images[0].path) == ("vqa", "mine/images/1.png")


def test_an_image_is_not_taken_from_the_folder_of_another_split(folder: Path) -> None:
    for place in ("train", "val"):
        photograph(folder / place / "1.png")
    photograph(folder / "val" / "2.png")
    for split, name in (("train", "1.png"), ("val", "2.png")):
        table(folder / f"{split}.csv", [(name, "How many?", "2")], ("image", "question", "answer"))
    (found,) = recognise(folder)
    assert "images of one name lie in several folders (1.png in images, train, val)" in first_look(found)[0]
    samples, _ = read(folder)
    assert [s.images[0].path for s in samples] == ["mine/1.png", "mine/val/2.png"], "the one is told to be missing"


def test_numbers_and_names_of_cocos_images_lead_to_coco(folder: Path) -> None:
    photograph(folder.parent / "coco" / "val2014" / "COCO_val2014_000000000042.jpg")
    row = {"question": "How many?", "answer": "2"}
    for image in ({"image_id": 42}, {"image": "000000000042.jpg"}, {"image": "COCO_val2014_000000000042.jpg"}):
        (folder / "a.json").write_text(json.dumps([row | image]))
        (sample,), rejects = read(folder)
        assert (sample.images[0].path, rejects) == ("coco/val2014/COCO_val2014_000000000042.jpg", [])
    (folder / "a.json").write_text(json.dumps([row | {"image_id": 42}, row | {"image_id": 43}]))
    samples, _ = read(folder)
    assert {s.images[0].path for s in samples} == {"mine/42", "mine/43"}, "numbers of other images are not COCO's"


def test_an_instruction_is_asked_with_its_input(folder: Path) -> None:
    row = {"image": "images/1.png", "instruction": "Answer.", "input": "How many?", "output": "2"}
    (folder / "a.json").write_text(json.dumps([row]))
    (sample,), _ = read(folder)
    assert sample.instruction == "Answer.\nHow many?"


def test_captions_are_captions_however_short_and_numbers_of_classes_are_told(folder: Path) -> None:
    rows = [{"image": "images/1.png", "caption": "red boxes"}]
    assert guess(rows, folder).mapping["task"] == "caption"
    columns = guess([{"image": "images/1.png", "label": 3}], folder)
    assert columns.notes[0].startswith("'label' holds bare numbers")


def test_rows_of_a_split_beyond_the_first_are_read_too(folder: Path) -> None:
    rows = [(n, "How many?", "2", "images/1.png", "train" if n < 1100 else "val") for n in range(1200)]
    table(folder / "a.csv", rows, ("id", "question", "answer", "image", "split"))
    (found,) = recognise(folder)
    assert found.splits == ("all",) and "rows of every split" in "".join(found.columns.notes if found.columns else ())
    samples, _ = read(folder)
    assert len(samples) == 1200 and samples[-1].split == "val"


def test_a_table_as_spreadsheets_and_scripts_write_it_is_read(folder: Path) -> None:
    head, row = "image,question,answer", "images/1.png,How many?,2"
    forms = {
        "a.csv": f"sep=;\r\n{head};{row}".replace(",", ";").replace(";images", "\r\nimages"),
        "b.csv": f"{head}\r{row}\r",
        "c.tsv": f'{head}\n{row}\nimages/1.png,"Two" what?,6"\n'.replace(",", "\t"),
        "d.json": json.dumps({"7": {"image": "images/1.png", "question": "How many?", "answer": 2}}),
        "e.csv": f"{head}\nimages\\1.png,How many?,2\n{folder}/images/1.png,How many?,2\n%69mages/1.png,How many?,2\n",
    }
    for name, text in forms.items():
        (folder / name).write_text(text, newline="")
        samples, rejects = read(folder / name)
        assert rejects == [] and samples, name
        assert {(s.response, s.images[0].path) for s in samples} <= {
            ("2", "mine/images/1.png"),
            ('6"', "mine/images/1.png"),
        }, name


def test_what_spreadsheets_leave_empty_is_no_column_and_no_row(folder: Path) -> None:
    text = "\n\n,image,question,answer,,\n0,images/1.png,How many?,2,,\n,,,,,\n"
    (folder / "a.csv").write_text(text)
    (sample,), rejects = read(folder)
    assert (sample.response, rejects) == ("2", [])
    (folder / "b.xlsx").touch()
    with pytest.raises(DataError, match=r"save b.xlsx as `CSV UTF-8`"):
        recognise(folder / "b.xlsx")


def test_a_second_image_may_be_there_in_some_rows_only(folder: Path) -> None:
    photograph(folder / "2.png")
    row = {"question": "How many?", "answer": 2.0, "image_1": "images/1.png"}
    (folder / "a.json").write_text(json.dumps([{**row, "image_2": None}, {**row, "image_2": "2.png"}]))
    samples, rejects = read(folder)
    assert [len(sample.images) for sample in samples] == [1, 2] and rejects == []
    assert samples[0].response == "2", "a whole number, as it was before some were missing"
    (folder / "a.json").write_text(json.dumps([{**row, "image_1": "['images/1.png', '2.png']"}]))
    (sample,), _ = read(folder)
    assert [image.path for image in sample.images] == ["mine/images/1.png", "mine/2.png"]


def test_a_file_that_is_left_out_is_named(folder: Path) -> None:
    table(folder / "train.csv", [("images/1.png", "How many?", "2")], ("image", "question", "answer"))
    (folder / "val.json").write_text('[{"image": "images/1.png", "quest')
    (found,) = recognise(folder)
    assert first_look(found)[0] == "not read: val.json (file is not valid JSON)"
    (folder / "train.csv").unlink()
    (folder / "test.json").write_text("{}")
    with pytest.raises(DataError, match="file is not valid JSON"):
        recognise(folder)


def test_rows_of_a_large_object_are_found_under_their_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "OBJECT_BYTES", 1)
    row = {"image": "images/1.png", "qa": [{"n": 1}], "question": "How many?", "answer": "2"}
    (folder / "a.json").write_text(json.dumps({"info": {"v": 1}, "data": [row]}))
    (sample,), _ = read(folder)
    assert sample.response == "2"


def test_lines_that_are_no_objects_are_told_as_such(folder: Path) -> None:
    for text, told in (
        ('[{"answer": 1}]', "file holds no objects"),
        ('{\n "answer": 1\n}', "one whole JSON object on"),
    ):
        (folder / "a.jsonl").write_text(text)
        with pytest.raises(DataError, match=told):
            recognise(folder)
