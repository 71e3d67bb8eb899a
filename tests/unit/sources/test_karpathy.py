import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError
from polite_flamingo.sources.forms import files
from polite_flamingo.sources.forms.karpathy import karpathy_images, raw_sentences


def test_items_come_in_the_order_of_the_file(root, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            root.json("a.json", {"images": [{"imgid": 2}, {"imgid": 1}], "dataset": "a"})
            assert list(karpathy_images(root.path / "a.json")) == [{"imgid": 2}, {"imgid": 1}]


def test_captions_are_trimmed_and_blank_ones_left_out() -> None:
    record = {"sentences": [{"raw": " two  dogs .\n"}, {"raw": " "}, {"raw": "a dog"}]}
    assert raw_sentences(record) == ["two dogs .", "a dog"]


def test_a_record_without_usable_sentences_is_refused() -> None:
    for record, reason in [
        ({"sentences": []}, "no caption"),
        ({"sentences": [{"raw": "  "}]}, "no caption"),
        ({"sentences": [{"tokens": ["a"]}]}, "no text 'raw'"),
        ({"sentences": ["a dog"]}, "no text 'raw'"),
        ({"sentences": "a dog"}, "not of type list"),
        ({}, "lacks 'sentences'"),
        ([], "not an object"),
    ]:
        with case(record, reason), pytest.raises(DataError, match=reason):
            raw_sentences(record)
