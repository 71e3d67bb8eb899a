import pytest

from polite_flamingo.errors import DataError

FILE = "cc3m/Train_GCC-training.tsv"


def test_the_first_line_is_data_and_lines_number_the_images_from_0(root) -> None:
    root.text(FILE, "a  dog runs\thttp://host/a.jpg\na cat\thttps://host/b?c=1\n")
    samples, rejects = root.read("cc3m", "cc3m", "train")
    assert rejects == []
    assert [(s.id, s.response, s.images[0].path) for s in samples] == [
        ("cc3m/train/0", "a dog runs", "cc3m/GCC_train_000000000.jpg"),
        ("cc3m/train/1", "a cat", "cc3m/GCC_train_000000001.jpg"),
    ]
    assert samples[0].extras == {"captions": ["a dog runs"], "url": "http://host/a.jpg"}


def test_quotes_and_line_separators_within_a_caption_are_text(root) -> None:
    root.text(FILE, 'the " sign\thttp://host/a\none\u2028two\x85three\thttp://host/b\nthe " end\thttp://host/c\n')
    samples, rejects = root.read("cc3m", "cc3m", "train")
    assert rejects == []
    assert [s.response for s in samples] == ['the " sign', "one two three", 'the " end']


def test_validation_has_its_own_file_and_images_may_lie_in_a_folder(root) -> None:
    root.image("cc3m/images/GCC_val_000000000.jpg")
    root.text("cc3m/Validation_GCC-1.1.0-Validation.tsv", "a dog\thttp://host/a.jpg\n")
    (sample,), _ = root.read("cc3m", "cc3m", "val")
    assert sample.images[0].path == "cc3m/images/GCC_val_000000000.jpg"


def test_a_broken_line_loses_only_itself_and_keeps_its_number(root) -> None:
    for line, reason in [
        (b"a dog", "line is not 'caption<TAB>address'"),
        (b"a dog\t ", "line is not 'caption<TAB>address'"),
        (b"a dog\thttp://host/a\tmore", "line is not 'caption<TAB>address'"),
        (b" \thttp://host/a", "caption is empty"),
        (b"a caf\xe9\thttp://host/a", "line is not UTF-8"),
        (b"", "line is not 'caption<TAB>address'"),
    ]:
        with root.case(line, reason):
            root.text(FILE, "")
            (root.path / FILE).write_bytes(line + b"\na cat\thttp://host/b\n")
            (sample,), (reject,) = root.read("cc3m", "cc3m", "train")
            assert sample.images[0].path == "cc3m/GCC_train_000000001.jpg"
            assert (reject.file, reject.row, reject.reason) == (FILE, "1", reason)


def test_an_unknown_split_is_an_error(root) -> None:
    with pytest.raises(DataError, match="no such split"):
        root.read("cc3m", "cc3m", "test")
