import pickle
from typing import Any

import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError
from polite_flamingo.images import open_image
from polite_flamingo.sources.forms import files
from polite_flamingo.sources.forms.regions import COLOURS

IMAGE = "coco/train2014/COCO_train2014_000000000007.jpg"
GOOGLE = "refcocog/google_refexp_train_201511.json"
ALIGNED = "refcocog/google_refexp_train_201511_coco_aligned.json"
REFEXPS = [{"refexp_id": 31, "raw": "a man  in red"}, {"refexp_id": 32, "raw": "the tall man"}]
OBJECT = {"annotation_id": 5, "image_id": 7, "refexp_ids": [31, 32], "region_candidates": []}
SENTENCES = [{"raw": "the man in red!", "sent": "the man in red", "sent_id": 0, "tokens": []}]
REF = {"ref_id": 9, "ann_id": 5, "image_id": 7, "category_id": 1, "sentences": SENTENCES, "sent_ids": [0]}


@pytest.fixture
def place(root) -> Any:
    """Writes what the name says, with the image and its box beside it."""
    root.image(IMAGE, (200, 100))
    instances = {"images": [], "annotations": [{"id": 4}, {"id": 5, "image_id": 7, "bbox": [20, 10, 100, 50]}]}

    def write(name: str, value: Any) -> None:
        if name == "umd":
            root.json("refcocog/refcocog/instances.json", instances)
            (root.path / "refcocog/refcocog/refs(umd).p").write_bytes(pickle.dumps(value, 2))
        else:
            root.json("coco/annotations/instances_train2014.json", instances)
            root.json(name, value)

    return write


def aligned(**values: Any) -> dict[str, Any]:
    box = {"annotation_id": 5, "image_id": 7, "bbox": [20, 10, 100, 50], "refexp_ids": [31, 32], **values}
    image = {"image_id": 7, "file_name": "COCO_train2014_000000000007.jpg"}
    return {"images": {"7": image}, "annotations": {"5": box}, "refexps": {str(r["refexp_id"]): r for r in REFEXPS}}


def ref(**values: Any) -> dict[str, Any]:
    return {**REF, "split": "train", "file_name": "COCO_train2014_000000000007_5.jpg", **values}


FORMS = [
    (GOOGLE, {"annotations": [OBJECT], "refexps": REFEXPS}, "google_train", 5, ["a man in red", "the tall man"]),
    (ALIGNED, aligned(), "google_train", 5, ["a man in red", "the tall man"]),
    ("umd", [ref()], "umd_train", 9, ["the man in red!"]),
]


def test_each_form_gives_a_marked_object_and_its_expressions(root, place, monkeypatch) -> None:
    for name, value, split, official, expressions in FORMS:
        for threshold in [files.STREAM_ABOVE, 0]:
            with case(threshold, name, value, split, official, expressions):
                monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
                place(name, value)
                (sample,), rejects = root.read("refcocog", "refcocog", split)
                assert rejects == []
                assert sample.id == f"refcocog/{split}/{official}"
                assert sample.response == "\n".join(expressions)
                assert sample.extras["captions"] == expressions
                assert sample.turns[0].images == (0,)
                ((drawn, origin),) = sample.extras["derived_from"].items()
                assert drawn == sample.images[0].path
                assert origin["image"] == IMAGE
                assert origin["mark"]["geometry"] == [20, 10, 120, 60]


def test_the_instruction_names_the_colour_and_kind_that_were_drawn(root, place) -> None:
    place("umd", [ref(ref_id=number) for number in range(30)])
    samples, _ = root.read("refcocog", "refcocog", "train")
    seen = set()
    for sample in samples:
        (origin,) = sample.extras["derived_from"].values()
        mark = origin["mark"]
        kind = {"box": "bounding box", "circle": "circle"}[mark["kind"]]
        assert f"{mark['colour']} {kind}" in sample.instruction
        seen.add((mark["colour"], kind))
    assert len({colour for colour, _ in seen}) > len(COLOURS) / 2
    assert {kind for _, kind in seen} == {"bounding box", "circle"}


def test_the_drawn_image_differs_from_the_source_and_drawing_twice_gives_the_same(root, place) -> None:
    place("umd", [ref()])
    (first,), _ = root.read("refcocog", "refcocog", "train")
    (again,), _ = root.read("refcocog", "refcocog", "train")
    assert first == again
    drawn, source = (open_image(root.path, path) for path in (first.images[0].path, IMAGE))
    assert drawn.size == source.size
    assert drawn.tobytes() != source.tobytes()


def test_the_object_number_in_the_file_name_of_umd_is_not_part_of_the_image(root, place) -> None:
    place("umd", [ref(file_name="COCO_train2014_000000000007_491042.jpg")])
    (sample,), _ = root.read("refcocog", "refcocog", "umd_train")
    assert next(iter(sample.extras["derived_from"].values()))["image"] == IMAGE


def test_rows_on_the_same_object_are_joined(root, place) -> None:
    rows = [{**OBJECT, "refexp_ids": [31]}, {**OBJECT, "refexp_ids": [32]}]
    place(GOOGLE, {"annotations": rows, "refexps": REFEXPS})
    (sample,), _ = root.read("refcocog", "refcocog", "google_train")
    assert sample.response == "a man in red\nthe tall man"


def test_the_aligned_file_needs_no_instances(root, place) -> None:
    place(ALIGNED, aligned())
    (root.path / "coco/annotations/instances_train2014.json").unlink()
    samples, _ = root.read("refcocog", "refcocog", "train")
    assert len(samples) == 1


def test_other_splits_of_the_pickle_are_passed_over(root, place) -> None:
    place("umd", [ref(), ref(split="val", ref_id=10)])
    (sample,), rejects = root.read("refcocog", "refcocog", "umd_val")
    assert (sample.id, rejects) == ("refcocog/umd_val/10", [])
    with pytest.raises(DataError, match="no row of this split"):
        root.read("refcocog", "refcocog", "umd_test")


def test_an_object_that_cannot_be_used_loses_only_itself(root, place) -> None:
    for values, reason in [
        ({"refexp_ids": [99]}, "object has no expression"),
        ({"refexp_ids": ["31"]}, "'refexp_ids' holds something other than numbers"),
        ({"refexp_ids": None}, "row lacks 'refexp_ids'"),
        ({"bbox": [1, 2, 3]}, "'bbox' is not four numbers"),
        ({"bbox": [1, 2, 0, 3]}, "region is not one"),
        ({"bbox": [500, 2, 10, 10]}, "region lies outside the image"),
        ({"image_id": 8}, "image is missing"),
    ]:
        with case(values, reason):
            value = aligned()
            value["annotations"]["6"] = {**value["annotations"]["5"], "annotation_id": 6, **values}
            place(ALIGNED, value)
            (sample,), (reject,) = root.read("refcocog", "refcocog", "google_train")
            assert sample.id == "refcocog/google_train/5"
            assert (reject.file, reject.row, reject.reason) == (ALIGNED, "6", reason)


def test_a_broken_expression_is_rejected_and_its_object_keeps_the_others(root, place) -> None:
    place(GOOGLE, {"annotations": [OBJECT], "refexps": [REFEXPS[0], {"refexp_id": 32, "raw": " "}]})
    (sample,), (reject,) = root.read("refcocog", "refcocog", "google_train")
    assert sample.response == "a man in red"
    assert (reject.file, reject.row, reject.reason) == (f"{GOOGLE}#refexps", "1", "row has an empty 'raw'")


def test_an_object_without_a_box_is_rejected(root, place) -> None:
    place(GOOGLE, {"annotations": [{**OBJECT, "annotation_id": 4}, OBJECT], "refexps": REFEXPS})
    (sample,), (reject,) = root.read("refcocog", "refcocog", "google_train")
    assert (sample.id, reject.row, reject.reason) == ("refcocog/google_train/5", "0", "object has no box")


def test_a_broken_ref_of_the_pickle_loses_only_itself(root, place) -> None:
    for broken, reason in [
        ({"ref_id": 1}, "row lacks 'split'"),
        (ref(sentences=[]), "object has no expression"),
        (ref(sentences=["a man"]), "a sentence has no text"),
        (ref(ann_id="5"), "'ann_id' is not of type int"),
        ("text", "row is not an object"),
    ]:
        with case(broken, reason):
            place("umd", [broken, ref()])
            (sample,), (reject,) = root.read("refcocog", "refcocog", "umd_train")
            assert sample.id == "refcocog/umd_train/9"
            assert (reject.file, reject.row, reject.reason) == ("refcocog/refcocog/refs(umd).p", "0", reason)


def test_a_pickle_that_would_run_something_is_refused(root, place) -> None:
    place("umd", [print])
    with pytest.raises(DataError, match="plain data alone"):
        root.read("refcocog", "refcocog", "umd_train")


def test_a_bare_split_of_a_folder_with_both_partitions_is_refused(root, place) -> None:
    place("umd", [ref()])
    place(GOOGLE, {"annotations": [OBJECT], "refexps": REFEXPS})
    with pytest.raises(DataError, match="google_train or umd_train"):
        root.read("refcocog", "refcocog", "train")
    assert len(root.read("refcocog", "refcocog", "google_train")[0]) == 1


def test_missing_boxes_of_the_google_form_are_an_error_of_the_whole(root) -> None:
    root.json(GOOGLE, {"annotations": [OBJECT], "refexps": REFEXPS})
    with pytest.raises(DataError, match="coco"):
        root.read("refcocog", "refcocog", "google_train")


def test_a_read_only_data_root_is_an_error_of_the_whole(root, place, monkeypatch) -> None:
    place("umd", [ref()])

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("polite_flamingo.sources.forms.regions.write_atomic", refuse)
    with pytest.raises(DataError, match="cannot be written"):
        root.read("refcocog", "refcocog", "umd_train")
