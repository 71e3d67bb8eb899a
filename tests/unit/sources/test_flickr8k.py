import pytest

from polite_flamingo.errors import DataError

LINES = "a.jpg#0\tA dog  runs .\na.jpg#1\tTwo dogs\nb.jpg#0\tA cat\n"


def test_captions_of_an_image_become_one_sample(root) -> None:
    root.text("flickr8k/Flickr8k.token.txt", LINES)
    samples, rejects = root.read("flickr8k", "flickr8k", "all")
    assert rejects == []
    assert [(s.id, s.response) for s in samples] == [
        ("flickr8k/all/a", "A dog runs .\nTwo dogs"),
        ("flickr8k/all/b", "A cat"),
    ]
    assert samples[0].images[0].path == "flickr8k/Flicker8k_Dataset/a.jpg"
    assert samples[0].extras == {"captions": ["A dog runs .", "Two dogs"]}


def test_a_split_is_the_images_of_its_list(root) -> None:
    root.text("flickr8k/Flickr8k_text/Flickr8k.token.txt", LINES)
    root.text("flickr8k/Flickr8k_text/Flickr_8k.devImages.txt", "b.jpg\n")
    samples, _ = root.read("flickr8k", "flickr8k", "dev")
    assert [s.id for s in samples] == ["flickr8k/dev/b"]


def test_the_name_with_two_endings_of_the_official_file_is_kept_apart(root) -> None:
    root.text("flickr8k/Flickr8k.token.txt", "a.jpg.1#0\tA dog\na.jpg#0\tA dog\n")
    samples, _ = root.read("flickr8k", "flickr8k", "all")
    assert [s.id for s in samples] == ["flickr8k/all/a.jpg", "flickr8k/all/a"]


def test_a_line_that_is_none_loses_only_itself(root) -> None:
    for line in [b"a.jpg A dog", b"a.jpg#0\t  ", b"a.jpg#x\tA dog"]:
        with root.case(line):
            root.text("flickr8k/Flickr8k.token.txt", "")
            (root.path / "flickr8k/Flickr8k.token.txt").write_bytes(line + b"\nb.jpg#0\tA cat\r\n")
            (sample,), (reject,) = root.read("flickr8k", "flickr8k", "all")
            assert sample.response == "A cat"
            assert (reject.row, reject.reason) == ("1", "line is not 'NAME#N<TAB>caption'")


def test_a_line_that_is_not_utf_8_is_rejected(root) -> None:
    root.text("flickr8k/Flickr8k.token.txt", "")
    (root.path / "flickr8k/Flickr8k.token.txt").write_bytes(b"a.jpg#0\tA caf\xe9\na.jpg#1\tA dog\n")
    (sample,), (reject,) = root.read("flickr8k", "flickr8k", "all")
    assert sample.response == "A dog"
    assert (reject.file, reject.row, reject.reason) == ("flickr8k/Flickr8k.token.txt", "1", "line is not UTF-8")


def test_an_image_outside_the_folder_is_rejected(root) -> None:
    root.text("flickr8k/Flickr8k.token.txt", "../a.jpg#0\tA dog\n")
    samples, (reject,) = root.read("flickr8k", "flickr8k", "all")
    assert (samples, reject.reason) == ([], "image path leaves the data root")


def test_an_unknown_split_and_a_missing_list_are_errors(root) -> None:
    root.text("flickr8k/Flickr8k.token.txt", LINES)
    with pytest.raises(DataError, match="no such split"):
        root.read("flickr8k", "flickr8k", "val")
    with pytest.raises(DataError, match="no annotation file found"):
        root.read("flickr8k", "flickr8k", "train")


def test_the_copy_on_kaggle_is_read(root) -> None:
    lines = 'image,caption\n1_0a.jpg,A dog  runs .\n1_0a.jpg,"Two dogs , so ."\n2_0b.jpg,A cat\nmine.png,A cat\n'
    root.text("flickr8k/captions.txt", lines)
    samples, (reject,) = root.read("flickr8k", "flickr8k", "all")
    assert [s.response for s in samples] == ["A dog runs .\nTwo dogs , so .", "A cat"]
    assert (reject.row, reject.value) == ("5", "mine.png,A cat")
