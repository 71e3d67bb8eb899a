import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError, printable
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt

HALF = "\ud800"  # what the JSON text "\ud800" becomes


def sample(answer: str = "Yes.", **values: object) -> Sample:
    turns = (Turn("human", "Is it?"), Turn("assistant", answer))
    return Sample(
        **{"id": "s/all/1", "source": "s", "split": "all", "licence": "x", "task": Task.TEXT, "turns": turns, **values}
    )


def test_an_image_path_stays_below_the_data_root() -> None:
    for path in ["", "/a.png", "../a.png", "a/../../b.png", "c:a.png", "c:\\a.png"]:
        with case(path), pytest.raises(DataError, match="leaves the data root"):
            Image(path)
    for path, words in {"a\\b.png": "has backslashes", "http://x/a.png": "is an address"}.items():
        with case(path), pytest.raises(DataError, match=words):
            Image(path)


def test_an_image_path_no_file_can_have_is_refused_before_the_file_system_sees_it() -> None:
    for path in ["a\0.png", "a\x1b[31m.png", "a\u202egnp.png", f"{HALF}.png", "a" * 256, "é" * 128, "a/" * 2000 + "b"]:
        with case(path), pytest.raises(DataError, match="none that a file can have"):
            Image(path)


def test_half_a_character_in_any_text_is_refused() -> None:
    for name in ("id", "source", "split", "licence"):
        with case(name), pytest.raises(DataError, match="half a character"):
            sample(**{name: HALF})


def test_what_steers_a_terminal_is_cleaned_from_texts_and_refused_in_ids() -> None:
    made = attempt("s", "f", 1, lambda: sample("A\0 \x1b[31mcat\u202e.\x0bIt\tis.\n"))
    assert made.response == "A [31mcat. It\tis.\n"
    whole = sample("Une é, 猫, \u200f and\r\n")
    assert attempt("s", "f", 1, lambda: whole) is whole
    assert attempt("s", "f", 1, lambda: sample(id="s/\x1b[31m")).reason == "id holds control characters"
    assert printable("a\x1b[31m\u202eb\n\tc") == "a\\u001b[31m\\u202eb\n\tc"


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
