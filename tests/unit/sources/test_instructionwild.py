import pytest

from polite_flamingo.errors import DataError


def test_version_1_is_read_with_and_without_ids(root) -> None:
    rows = [
        {"instruction": "Greet.", "input": "", "output": "Hello.", "id": "7"},
        {"instruction": "Bow.", "input": "", "output": "There."},
        {"instruction": "Say nothing.", "output": ""},
    ]
    root.json("instructionwild/data/instinwild_en.json", rows)
    (first, second), (reject,) = root.read("instructionwild", "instructionwild", "en")
    assert (first.id, first.response, second.id) == ("instructionwild/en/0", "Hello.", "instructionwild/en/1")
    assert (reject.row, reject.reason) == ("2", "row has an empty 'output'")


def test_the_chinese_half_is_a_split_of_its_own(root) -> None:
    root.json("instructionwild/instinwild_ch.json", [{"instruction": "Hi", "output": "Hello."}])
    (sample,), _ = root.read("instructionwild", "instructionwild", "ch")
    assert sample.id == "instructionwild/ch/0"


def test_version_2_has_no_answers_and_says_so(root) -> None:
    root.lines("instructionwild/data_v2/user_1.jsonl", {"instruction": "Greet."})
    with pytest.raises(DataError, match="instructions without answers"):
        root.read("instructionwild", "instructionwild", "en")


def test_an_empty_folder_is_an_error(root) -> None:
    root.text("instructionwild/readme.txt", "")
    with pytest.raises(DataError, match="no annotation file found"):
        root.read("instructionwild", "instructionwild", "en")
