import pytest

from polite_flamingo.errors import DataError

NAME = "COCO_train2014_000000000007_3"


def row(sentence: str, **values: object) -> dict[str, object]:
    return {"img_id": NAME, "sents": sentence, "bbox": [20, 10, 100, 50], "height": 100, "width": 200, **values}


def test_sentences_on_an_object_become_one_sample_on_its_marked_image(root) -> None:
    root.image("coco/train2017/000000000007.jpg", (200, 100))
    root.json("refcoco/refcoco+_testA.json", [row("man  on left"), row("left guy")])
    (sample,), rejects = root.read("refcoco", "refcoco", "refcoco+_testA")
    assert rejects == []
    assert (sample.id, sample.response) == (f"refcoco/refcoco+_testA/{NAME}", "man on left\nleft guy")
    (origin,) = sample.extras["derived_from"].values()
    assert origin["image"] == "coco/train2017/000000000007.jpg"
    assert origin["mark"]["geometry"] == [20, 10, 120, 60]


def test_several_lists_may_share_a_file(root) -> None:
    root.image("coco/train2014/COCO_train2014_000000000007.jpg", (200, 100))
    root.json("refcoco/some.json", {"refcoco_val": [row("man")], "refcocog_test": [row("a man")]})
    (sample,), _ = root.read("refcoco", "refcoco", "refcocog_test")
    assert sample.response == "a man"
    with pytest.raises(DataError, match="no list 'refcoco_testB'"):
        root.read("refcoco", "refcoco", "refcoco_testB")


def test_a_broken_row_loses_only_itself(root) -> None:
    for broken, reason in [
        (row(" "), "row has an empty 'sents'"),
        (row("man", bbox="x"), "'bbox' is not of type list"),
        (row("man", img_id="7"), "'img_id' is not COCO_train2014_<image>_<object>"),
        (row("man", img_id="COCO_train2014_000000000008_1"), "image is missing"),
        ("text", "row is not an object"),
    ]:
        with root.case(broken, reason):
            root.image("coco/train2014/COCO_train2014_000000000007.jpg", (200, 100))
            root.json("refcoco/refcoco_val.json", [broken, row("man")])
            (sample,), (reject,) = root.read("refcoco", "refcoco", "refcoco_val")
            assert sample.response == "man"
            assert (reject.file, reject.row, reject.reason) == ("refcoco/refcoco_val.json", "0", reason)


def test_a_missing_file_among_others_is_an_error(root) -> None:
    root.json("refcoco/refcoco_val.json", [])
    root.json("refcoco/refcoco_testA.json", [])
    with pytest.raises(DataError, match=r"add refcoco_testB\.json"):
        root.read("refcoco", "refcoco", "refcoco_testB")
