import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.sources.forms import files

TOKEN = "flickr30k/results_20130124.token"
CSV = "flickr30k/flickr30k_images/results.csv"
KARPATHY = "flickr30k/dataset_flickr30k.json"
HEADER = "image_name| comment_number| comment\n"


def item(name: str, split: str, *captions: str) -> dict[str, object]:
    return {"filename": name, "split": split, "imgid": 0, "sentids": [], "sentences": [{"raw": c} for c in captions]}


def test_the_token_file_gives_one_sample_per_image(root) -> None:
    root.text(TOKEN, "1.jpg#0\tTwo men .\n1.jpg#1\tMen\n2.jpg#0\tA dog\n")
    samples, rejects = root.read("flickr30k", "flickr30k", "all")
    assert rejects == []
    assert [(s.id, s.response) for s in samples] == [
        ("flickr30k/all/1", "Two men .\nMen"),
        ("flickr30k/all/2", "A dog"),
    ]
    assert samples[0].images[0].path == "flickr30k/flickr30k-images/1.jpg"


def test_the_csv_file_has_bars_blanks_and_a_header(root) -> None:
    root.image("flickr30k/flickr30k_images/flickr30k_images/1.jpg")
    root.text(CSV, HEADER + '1.jpg| 0|  Two men | and "a bar" .\n1.jpg| 1| Men\n')
    (sample,), rejects = root.read("flickr30k", "flickr30k", "all")
    assert (sample.response, rejects) == ('Two men | and "a bar" .\nMen', [])
    assert sample.images[0].path == "flickr30k/flickr30k_images/flickr30k_images/1.jpg"


def test_the_known_line_without_its_second_bar_is_read(root) -> None:
    root.text(CSV, HEADER + "2199200615.jpg| 3| A dog .\n2199200615.jpg| 4   A dog runs across the grass .\n")
    (sample,), rejects = root.read("flickr30k", "flickr30k", "all")
    assert (sample.response, rejects) == ("A dog .\nA dog runs across the grass .", [])


def test_any_other_malformed_line_loses_only_itself(root) -> None:
    for line in ["1.jpg A dog", "1.jpg| A dog", "1.jpg| 0|  ", "| 0| A dog", "1.jpg| 0"]:
        with root.case(line):
            root.text(CSV, f"{HEADER}{line}\n1.jpg| 1| Men\n")
            (sample,), (reject,) = root.read("flickr30k", "flickr30k", "all")
            assert sample.response == "Men"
            assert (reject.file, reject.row, reject.value) == (CSV, "2", line)
            assert reject.reason == "line is not 'NAME| N| caption'"


def test_a_split_comes_from_karpathys_file(root, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            root.text(TOKEN, "1.jpg#0\tignored\n")
            root.json(
                KARPATHY, {"images": [item("1.jpg", "train", "Two men"), item("2.jpg", "val", " A dog .", "Dog")]}
            )
            (sample,), rejects = root.read("flickr30k", "flickr30k", "val")
            assert (sample.id, sample.response, rejects) == ("flickr30k/val/2", "A dog .\nDog", [])


def test_all_is_read_from_karpathys_file_where_there_is_no_other(root) -> None:
    root.json(KARPATHY, {"images": [item("1.jpg", "train", "Two men"), item("2.jpg", "val", "A dog")]})
    samples, _ = root.read("flickr30k", "flickr30k", "all")
    assert [s.id for s in samples] == ["flickr30k/all/1", "flickr30k/all/2"]


def test_a_broken_item_loses_only_itself(root) -> None:
    for record, reason in [
        (item("2.jpg", "train"), "image has no caption"),
        (item("../2.jpg", "train", "A dog"), "image path leaves the data root"),
        ({**item("2.jpg", "train", "A dog"), "split": None}, "row lacks 'split'"),
        ({**item("2.jpg", "train", "A dog"), "filename": 2}, "'filename' is not of type str"),
        ("text", "row is not an object"),
    ]:
        with root.case(record, reason):
            root.json(KARPATHY, {"images": [record, item("1.jpg", "train", "Two men")]})
            (sample,), (reject,) = root.read("flickr30k", "flickr30k", "train")
            assert sample.id == "flickr30k/train/1"
            assert (reject.file, reject.row, reject.reason) == (KARPATHY, "0", reason)


def test_a_split_the_file_does_not_have_is_an_error(root) -> None:
    root.json(KARPATHY, {"images": [item("1.jpg", "train", "Two men")]})
    with pytest.raises(DataError, match=r"no row of this split[\s\S]*train"):
        root.read("flickr30k", "flickr30k", "restval")


def test_a_split_without_karpathys_file_is_an_error(root) -> None:
    root.text(TOKEN, "1.jpg#0\tTwo men .\n")
    with pytest.raises(DataError, match=r"no annotation file found[\s\S]*dataset_flickr30k"):
        root.read("flickr30k", "flickr30k", "train")


def test_a_header_that_damage_has_joined_with_a_row_is_rejected(root) -> None:
    root.text("flickr30k/results.csv", "image_name| comment_numb1.jpg| 0| A dog.\n2.jpg| 0| A cat.\n")
    samples, rejects = root.read("flickr30k", "flickr30k", "all")
    assert ([s.id for s in samples], [r.row for r in rejects]) == (["flickr30k/all/2"], ["1"])


def test_the_second_copy_on_kaggle_is_read(root) -> None:
    root.text("flickr30k/captions.txt", 'image_name,comment_number,comment\n1.jpg,0,"Two , dogs ."\n1.jpg,1, Dogs .\n')
    (sample,), rejects = root.read("flickr30k", "flickr30k", "all")
    assert (sample.id, sample.response, rejects) == ("flickr30k/all/1", "Two , dogs .\nDogs .", [])
