import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import EDIT, REMOTE_CHANGE
from polite_flamingo.records import Task
from polite_flamingo.sources.forms import files


def pair(number: int, split: str = "train", **values: object) -> dict[str, object]:
    sentences = [{"tokens": ["a", "road"], "raw": " a road is built , with trees .", "imgid": number, "sentid": 0}]
    name = f"{split}_{number:06d}.png"
    return {
        "filepath": split, "filename": name, "imgid": number, "split": split, "changeflag": 1, "sentences": sentences,
        **values,
    }  # fmt: skip


def edit(uid: str, *requests: str) -> dict[str, object]:
    return {"img0": "site_a_a.jpg", "img1": "site_a_b.PNG", "sents": list(requests), "uid": uid}


def test_spot_the_diff_gives_repeated_pairs_ids_of_their_own(root) -> None:
    rows = [{"img_id": name, "sentences": [f"{i}"]} for i, name in enumerate(("12", "12-2", "12", "12"))]
    root.json("spot_the_diff/annotations/val.json", rows)
    samples, rejects = root.read("spot_the_diff", "spot_the_diff", "val")
    assert rejects == []
    assert [s.id.rpartition("/")[2] for s in samples] == ["12", "12-2", "12-3", "12-4"]
    assert [s.response for s in samples] == ["0", "1", "2", "3"]
    assert {s.images[0].path for s in samples[2:]} == {"spot_the_diff/resized_images/12.png"}


def test_spot_the_diff_rows_with_a_blank_sentence_alone_are_rejected(root) -> None:
    root.json("spot_the_diff/annotations/train.json", [{"img_id": "3", "sentences": [""]}])
    samples, (reject,) = root.read("spot_the_diff", "spot_the_diff", "train")
    assert (samples, reject.reason) == ([], "row has an empty 'sentences'")


def test_spot_the_diff_never_shows_the_difference_picture_and_finds_jpegs(root) -> None:
    for name in ("5.jpg", "5_2.png", "5_diff.jpg"):
        root.image(f"spot_the_diff/resized_images/{name}")
    root.json("spot_the_diff/annotations/val.json", [{"img_id": "5", "sentences": ["a car left"]}])
    (sample,), _ = root.read("spot_the_diff", "spot_the_diff", "val")
    assert [i.path.rpartition("/")[2] for i in sample.images] == ["5.jpg", "5_2.png"]


def test_a_broken_spot_the_diff_row_loses_only_itself(root) -> None:
    for row, reason in [
        ({"img_id": "../../x", "sentences": ["a"]}, "image path leaves the data root"),
        ({"img_id": 5, "sentences": ["a"]}, "'img_id' is not of type str"),
        ({"img_id": "5", "sentences": [5]}, "'sentences' holds something other than text"),
        ({"img_id": "x" * 400 + "\0", "sentences": [" "]}, "row has an empty 'sentences'"),
        ([], "row is not an object"),
    ]:
        with root.case(row, reason):
            root.json("spot_the_diff/annotations/val.json", [row, {"img_id": "12", "sentences": ["a"]}])
            (sample,), (reject,) = root.read("spot_the_diff", "spot_the_diff", "val")
            assert sample.id == "spot_the_diff/val/12"
            assert (reject.file, reject.row, reject.reason) == ("spot_the_diff/annotations/val.json", "0", reason)


def test_an_image_name_no_file_can_have_is_rejected(root) -> None:
    root.json("spot_the_diff/annotations/val.json", [{"img_id": "x" * 400, "sentences": ["a"]}])
    samples, (reject,) = root.read("spot_the_diff", "spot_the_diff", "val")
    assert samples == []
    assert reject.reason == "image path is none that a file can have"


def test_image_editing_request_joins_its_requests_with_the_unedited_image_first(root) -> None:
    for place in ["dataset/adobe/valid.json", "data/valid.json", "valid.json"]:
        with root.case(place):
            root.json(
                f"ier/{place}", [edit("Reddit_1", "make it  brighter", " Increase the brightness ", "add the effect")]
            )
            (sample,), rejects = root.read("image_editing_request", "ier", "valid")
            assert rejects == []
            assert (sample.id, sample.task) == ("image_editing_request/valid/Reddit_1", Task.CHANGE)
            assert [i.path for i in sample.images] == ["ier/images/site_a_a.jpg", "ier/images/site_a_b.PNG"]
            assert sample.turns[0].images == (0, 1)
            assert sample.instruction in EDIT
            assert sample.response == "make it brighter\nIncrease the brightness\nadd the effect"


def test_image_editing_request_has_one_request_in_train_and_ids_stay_unique(root) -> None:
    root.json("ier/train.json", [edit("Zhopped_2", "crop it"), edit("Zhopped_2", "turn it")])
    samples, _ = root.read("image_editing_request", "ier", "train")
    assert [(s.id.rpartition("/")[2], s.response) for s in samples] == [
        ("Zhopped_2", "crop it"), ("Zhopped_2-2", "turn it"),
    ]  # fmt: skip


def test_a_broken_image_editing_request_loses_only_itself(root) -> None:
    for values, reason in [
        ({"uid": ""}, "row has an empty 'uid'"),
        ({"sents": []}, "row has an empty 'sents'"),
        ({"img1": None}, "row lacks 'img1'"),
        ({"img0": "/etc/passwd"}, "image path leaves the data root"),
    ]:
        with root.case(values, reason):
            root.json("ier/test.json", [{**edit("a_1", "crop it"), **values}, edit("a_2", "crop it")])
            (sample,), (reject,) = root.read("image_editing_request", "ier", "test")
            assert sample.id == "image_editing_request/test/a_2"
            assert (reject.row, reject.reason) == ("0", reason)


def test_levir_cc_always_shows_the_image_before_first_and_tidies_the_sentences(root, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            same = pair(2, changeflag=0, sentences=[{"raw": " the scene is the same as before . "}] * 5)
            root.json(
                "levir_cc/LevirCCcaptions.json", {"images": [pair(1), pair(9, "val"), same], "dataset": "LEVIR_CC"}
            )
            (first, second), rejects = root.read("levir_cc", "levir_cc", "train")
            assert rejects == []
            assert (first.id, first.task) == ("levir_cc/train/train_000001", Task.CHANGE)
            assert [i.path for i in first.images] == [f"levir_cc/images/train/{d}/train_000001.png" for d in "AB"]
            assert first.instruction in REMOTE_CHANGE
            assert first.response == "a road is built, with trees."
            assert first.extras["changed"] is True
            assert second.response == "\n".join(["the scene is the same as before."] * 5)
            assert second.extras["changed"] is False


def test_levir_cc_keeps_the_order_of_images_whatever_the_seed(root) -> None:
    root.json("levir_cc/LevirCCcaptions.json", {"images": [pair(n) for n in range(50)]})
    samples, _ = root.read("levir_cc", "levir_cc", "train")
    assert all("/A/" in s.images[0].path and "/B/" in s.images[1].path for s in samples)


def test_a_broken_levir_cc_row_loses_only_itself(root) -> None:
    for row, reason in [
        (pair(1, split="holdout"), "row names no known split"),
        ({"filename": "a.png"}, "row names no known split"),
        (pair(1) | {"split": []}, "row names no known split"),
        ("text", "row names no known split"),
        (pair(1, sentences=[]), "image has no caption"),
        (pair(1, filename="../../a.png"), "image path leaves the data root"),
    ]:
        with root.case(row, reason):
            root.json("levir_cc/LevirCCcaptions.json", {"images": [row, pair(2)]})
            (sample,), (reject,) = root.read("levir_cc", "levir_cc", "train")
            assert sample.id == "levir_cc/train/train_000002"
            assert (reject.row, reject.reason) == ("0", reason)


def test_an_unknown_levir_cc_split_is_refused(root) -> None:
    root.json("levir_cc/LevirCCcaptions.json", {"images": []})
    with pytest.raises(DataError, match="no such split"):
        root.read("levir_cc", "levir_cc", "valid")
