import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reasons, Reject, Sample, Task, Turn

HALF = "\ud800"  # what the JSON text "\ud800" becomes


def sample(answer: str = "Yes.", **values: object) -> Sample:
    turns = (Turn("human", "Is it?"), Turn("assistant", answer))
    return Sample(
        **{"id": "s/all/1", "source": "s", "split": "all", "licence": "x", "task": Task.TEXT, "turns": turns, **values}
    )


def test_an_image_path_stays_below_the_data_root() -> None:
    for path in ["", "/a.png", "../a.png", "a/../../b.png", "a\\b.png", "c:a.png", "http://x/a.png"]:
        with case(path), pytest.raises(DataError, match="leaves the data root"):
            Image(path)


def test_an_image_path_no_file_can_have_is_refused_before_the_file_system_sees_it() -> None:
    for path in ["a\0.png", f"{HALF}.png", "a" * 256, "é" * 128, "a/" * 2000 + "b"]:
        with case(path), pytest.raises(DataError, match="none that a file can have"):
            Image(path)


def test_a_long_or_foreign_image_path_is_fine() -> None:
    for path in ["a" * 255, "/".join(["a" * 200] * 10), "ä/ö ü.png"]:
        with case(path):
            assert Image(path).path == path


def test_text_that_cannot_be_written_as_utf_8_is_refused() -> None:
    for values in [{"answer": HALF}, {"id": HALF}, {"extras": {"captions": [HALF]}}, {"extras": {HALF: 1}}]:
        with case(values), pytest.raises(DataError, match="half a character"):
            sample(**values)


def test_a_reject_can_always_be_written():
    reject = Reject("s", f"{HALF}.json", HALF, "broken", f"a{HALF}b")
    assert (reject.file, reject.row, reject.value) == ("?.json", "?", "a?b")


def test_a_sample_survives_its_row():
    assert Sample.from_row(sample(extras={"captions": ["ä"]}).to_row()) == sample(extras={"captions": ["ä"]})


def test_reasons_are_counted_whatever_record_they_name() -> None:
    told = ["HTTP 500: id 17", "no image: a/1.png", "error: HTTP 401: key", "HTTP 500: id 18", "no image: a/2.png"]
    reasons = Reasons(Reject("s", "f.csv", str(row), reason, "v") for row, reason in enumerate(told, 2))
    assert reasons.lines() == [
        "2 x HTTP 500: id 17 (f.csv, row 2, v)",
        "2 x no image: a/1.png (f.csv, row 3, v)",
        "1 x HTTP 401: key (f.csv, row 4, v)",
    ]
    assert reasons.lines(1)[1] == "2 other reasons"
