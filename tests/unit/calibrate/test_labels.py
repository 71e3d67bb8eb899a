"""Labelled records: from a CSV file, from injected errors; what a cut of paragraphs mends."""

from pathlib import Path

import pytest

from polite_flamingo.calibrate.labels import INJECTED, from_injected, from_people, inject, read_labels
from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Rewrite, Task


def rewrite(name: str, text: str = "A cat is on the red bed in a room.", task: Task = Task.CAPTION) -> Rewrite:
    return Rewrite(
        name, "coco", "val", "CC BY 4.0", task, "Describe it.", (Image("a.png"),), "A cat on a bed.", text, "stop"
    )


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_labels_are_words_or_numbers_and_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    file = write(tmp_path, "\ufeffid,label,note\na,clean,x\nb, Corrupted ,\nc,0,\nd,1,\n")
    assert read_labels(file) == {"a": False, "b": True, "c": False, "d": True}
    file.write_text("id;label\na;clean\n", encoding="utf-8-sig")
    assert read_labels(file) == {"a": False}, "as spreadsheets of other countries write it"


def test_an_unusable_label_names_its_row(tmp_path: Path) -> None:
    for text, message in (
        ("id,label\na,maybe\n", "labels.csv:2"),
        ("id,label\na,0\na,1\n", "twice"),
        ("name,label\na,0\n", "needs an id"),
        ("id,label\n", "no label"),
    ):
        with pytest.raises(DataError, match=message):
            read_labels(write(tmp_path, text))


def test_a_label_of_an_unknown_record_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, "id,label\na,0\nghost,1\n")
    with pytest.raises(DataError, match="ghost"):
        list(from_people(file, [rewrite("a")]))


def test_every_kind_of_corruption_is_injected_about_equally_often() -> None:
    clean = [rewrite(f"r{i}", "Two cats are on the red bed in a room.") for i in range(50)]
    kinds = [copy.extras["probe"] for copy in inject(clean, seed=3)]
    assert sorted(kinds.count(kind) for kind in set(kinds)) == [10] * 5


def test_cutting_the_invented_paragraph_makes_a_copy_right_again() -> None:
    clean = rewrite("r")
    copy = rewrite("r" + INJECTED, f"{clean.rewritten}\n\nIn addition, there is a bus.").with_scores(
        clip_logits=[20.0, 5.0]
    )
    copy = Rewrite(**{**{f: getattr(copy, f) for f in Rewrite.__dataclass_fields__}, "extras": {"probe": "invented"}})
    first, second = from_injected({"r": clean}, [clean, copy])
    assert first.corrupted == (False,)
    assert second.corrupted == (True, False)
    assert first.group == second.group
