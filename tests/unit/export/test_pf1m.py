"""PF-1M's published fields, written and read back."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError
from polite_flamingo.export.pf1m import Pf1mWriter, from_record, split_input, to_record
from polite_flamingo.records import Image, Rewrite, Task

SCORES: dict[str, Any] = {
    "rouge_l": 0.28333333,
    "sts": 0.41372,
    "nli": [-5.67812, 4.64239, -0.46249],
    "clip_logits": [23.25871],
    "reward": 5.25074,
    "reward_raw": -1.0,
}


def rewrite(
    task: Task, text: str = "A skier jumps.", images: tuple[str, ...] = ("coco/a.jpg",), **scores: Any
) -> Rewrite:
    pictures = tuple(Image(path) for path in images)
    given = {**SCORES, "nli": SCORES["nli"] if task is Task.VQA else None, **scores}
    return Rewrite("s/1", "s", "train", "-", task, "Describe it", pictures, "a skier\n", text, "stop", {}, given)


def test_a_vqa_record_has_exactly_the_published_fields() -> None:
    assert to_record(rewrite(Task.VQA)) == {
        "input": "Describe it<img_path>coco/a.jpg<img_path>",
        "output": "A skier jumps.",
        "rouge_score": 0.2833,
        "nli_similarity": [-5.6781, 4.6424, -0.4625],
        "original": "a skier\n",
        "reward": 5.2507,
    }


def test_a_caption_of_one_paragraph_has_no_paragraph_fields() -> None:
    assert list(to_record(rewrite(Task.CAPTION))) == [
        "input",
        "output",
        "rouge_score",
        "sts_similarity",
        "original",
        "reward",
    ]


def test_a_caption_with_a_cut_paragraph_shows_it() -> None:
    record = to_record(rewrite(Task.CAPTION), [(16.01914, "Also, two people watch.")])
    assert record["filtered_paragraphs"] == [[16.0191, "Also, two people watch."]]
    assert record["paragraph_clip_scores"] == [23.2587]


def test_a_caption_of_two_good_paragraphs_has_an_empty_list_of_cut_ones() -> None:
    record = to_record(rewrite(Task.CAPTION, "One.\n\nTwo.", clip_logits=[20.0, 21.0]))
    assert record["filtered_paragraphs"] == []
    assert record["paragraph_clip_scores"] == [20.0, 21.0]


def test_a_score_that_was_not_taken_is_left_out() -> None:
    bare = rewrite(Task.CAPTION, "A.\n\nB.", sts=None, reward=None, clip_logits=None)
    assert list(to_record(bare)) == ["input", "output", "rouge_score", "original"]


def test_two_images_are_both_marked_and_found_again() -> None:
    text = to_record(rewrite(Task.CHANGE, images=("a/1.png", "a/1_2.png")))["input"]
    assert text == "Describe it<img_path>a/1.png<img_path><img_path>a/1_2.png<img_path>"
    assert split_input(text) == ("Describe it", ["a/1.png", "a/1_2.png"])


def test_text_without_an_image_stays_as_it_is() -> None:
    assert to_record(rewrite(Task.TEXT, images=()))["input"] == "Describe it"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    cut = [(16.0191, "Also, „zwei“ people.")]
    records = [(rewrite(Task.VQA), ()), (rewrite(Task.CAPTION), cut), (rewrite(Task.TEXT, images=()), ())]
    path = tmp_path / "pf1m.json"
    with Pf1mWriter(path) as writer:
        for kept, paragraphs in records:
            writer.write(kept, paragraphs)
    assert writer.count == 3
    published = [to_record(r, c) for r, c in records]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == published
    again = [from_record(record, id=f"pf1m/train/{n}") for n, record in enumerate(written)]
    assert [to_record(r, c) for r, c in again] == published
    assert [r.task for r, _ in again] == [Task.VQA, Task.CAPTION, Task.TEXT]
    assert again[1][1] == cut
    assert again[0][0].images == (Image("coco/a.jpg"),)


def test_no_records_make_an_empty_list(tmp_path: Path) -> None:
    with Pf1mWriter(tmp_path / "x" / "pf1m.json") as writer:
        pass
    assert writer.count == 0
    assert json.loads((tmp_path / "x" / "pf1m.json").read_text()) == []


def test_a_failure_leaves_the_old_file_and_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "pf1m.json"
    with Pf1mWriter(path) as writer:
        writer.write(rewrite(Task.VQA))
    before = path.read_bytes()
    with pytest.raises(RuntimeError), Pf1mWriter(path) as writer:
        writer.write(rewrite(Task.CAPTION))
        raise RuntimeError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unusable_record_is_named() -> None:
    for record, message in [
        ({"input": "a", "original": "b"}, "output"),
        ({"input": "a<img_path>../../etc/passwd<img_path>", "output": "b", "original": "c"}, "leaves the data root"),
    ]:
        with case(record, message), pytest.raises(DataError, match=message):
            from_record(record, id="pf1m.json, record 0")


def test_the_order_of_scores_does_not_change_the_file(tmp_path: Path) -> None:
    record = rewrite(Task.VQA)
    shuffled = replace(record, scores=dict(reversed(record.scores.items())))
    assert json.dumps(to_record(record)) == json.dumps(to_record(shuffled))


@pytest.mark.real_data
def test_a_published_record_is_read_and_written_back_unchanged() -> None:
    path = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA", "absent")) / "pf1m_record.json"
    if not path.is_file():
        pytest.skip("POLITE_FLAMINGO_REAL_DATA names no folder with pf1m_record.json")
    published = json.loads(path.read_text(encoding="utf-8"))
    assert to_record(*from_record(published, id=path.name)) == published
