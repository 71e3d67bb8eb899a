from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Task
from polite_flamingo.sources.forms import files
from polite_flamingo.sources.forms.coco import find_image, image_number, read_context


def test_captions_are_grouped_and_boxes_follow_them(root, coco_files, box, monkeypatch) -> None:
    for threshold in [files.STREAM_ABOVE, 0]:
        with root.case(threshold):
            monkeypatch.setattr(files, "STREAM_ABOVE", threshold)
            coco_files(
                captions=[{"image_id": 7, "caption": " A  cat.\n"}, {"image_id": 7, "caption": "Two things"}],
                instances=[box(bbox=[10, 10, 30, 20]), box(category_id=90, bbox=[0.5, 0, 33.3333, 50])],
            )
            (sample,), rejects = root.read("coco", "coco", "train")
            assert rejects == []
            assert sample.id == "coco/train/7"
            assert sample.task is Task.CAPTION
            assert sample.images[0].path == "coco/train2014/COCO_train2014_000000000007.jpg"
            assert sample.turns[0].images == (0,)
            assert sample.response == (
                f"A cat.\nTwo things\n\n{BOX_SENTENCE}\ncat: [0.1, 0.2, 0.4, 0.6]\ntoothbrush: [0.005, 0.0, 0.338, 1.0]"
            )
            assert sample.extras["captions"] == ["A cat.", "Two things"]
            assert sample.extras["boxes"][0] == ["cat", 0.1, 0.2, 0.4, 0.6]


def test_crowds_and_boxes_without_area_are_skipped(root, coco_files, box) -> None:
    coco_files(instances=[box(iscrowd=1, bbox=[0, 0, 9, 9]), box(bbox=[5, 5, 0, 9])])
    (sample,), rejects = root.read("coco", "coco", "train")
    assert (sample.response, sample.extras["boxes"], rejects) == ("A cat.", [], [])


def test_boxes_beyond_the_image_end_at_its_edge(root, coco_files, box) -> None:
    coco_files(instances=[box(bbox=[-10, 40, 200, 20])])
    (sample,), _ = root.read("coco", "coco", "train")
    assert sample.extras["boxes"] == [["cat", 0.0, 0.8, 1.0, 1.0]]


def test_a_split_without_instances_gives_captions_alone(root, coco_files) -> None:
    coco_files()
    (root.path / "coco/annotations/instances_train2014.json").unlink()
    (sample,), _ = root.read("coco", "coco", "train2014")
    assert (sample.id, sample.response) == ("coco/train2014/7", "A cat.")


def test_an_image_without_caption_is_rejected(root, coco_files) -> None:
    coco_files(captions=[])
    samples, rejects = root.read("coco", "coco", "train")
    assert (samples, [r.reason for r in rejects]) == ([], ["image has no caption"])


def test_a_broken_caption_row_loses_only_itself(root, coco_files) -> None:
    for caption, reason in [
        ({"image_id": 7}, "row lacks 'caption'"),
        ({"image_id": 7, "caption": "  "}, "row has an empty 'caption'"),
        ({"image_id": 7, "caption": 5}, "'caption' is not of type str"),
        ({"image_id": 8, "caption": "A dog."}, "caption of an image the file does not list"),
        ("text", "row is not an object"),
    ]:
        with root.case(caption, reason):
            coco_files(captions=[caption, {"image_id": 7, "caption": "A cat."}])
            (sample,), (reject,) = root.read("coco", "coco", "train")
            assert sample.extras["captions"] == ["A cat."]
            assert (reject.file, reject.row, reject.reason) == ("coco/annotations/captions_train2014.json", "0", reason)


def test_a_broken_box_loses_only_itself(root, coco_files, box) -> None:
    for values, reason in [
        ({"bbox": [1, 2, 3]}, "'bbox' is not four numbers"),
        ({"bbox": None}, "row lacks 'bbox'"),
        ({"category_id": 99}, "box of an unknown category"),
    ]:
        with root.case(values, reason):
            coco_files(instances=[box(**values), box(bbox=[0, 0, 100, 50])])
            (sample,), (reject,) = root.read("coco", "coco", "train")
            assert sample.extras["boxes"] == [["cat", 0.0, 0.0, 1.0, 1.0]]
            assert (reject.file, reject.reason) == ("coco/annotations/instances_train2014.json", reason)


def test_an_image_path_that_leaves_the_root_is_rejected(root, coco_files) -> None:
    leaves = dict.fromkeys(["../../secret.jpg", "/etc/secret.jpg", "C:\\secret.jpg"], "image path leaves the data root")
    for name, reason in {**leaves, "http://host/a.jpg": "image is an address, which is fetched nowhere"}.items():
        with root.case(name):
            coco_files(image={"file_name": name})
            samples, (reject,) = root.read("coco", "coco", "train")
            assert (samples, reject.reason, reject.value) == ([], reason, name)


def test_an_image_is_found_under_the_other_years_split(root) -> None:
    root.image("coco/train2017/000000000042.jpg")
    assert find_image(root.path, ("coco",), "val2014", 42) == "coco/train2017/000000000042.jpg"


def test_a_missing_image_is_named_by_its_official_place(root) -> None:
    assert find_image(root.path, ("own", "coco"), "val2014", 42) == "coco/val2014/COCO_val2014_000000000042.jpg"
    assert find_image(root.path, ("coco",), "val2017", 42) == "coco/val2017/000000000042.jpg"


def test_image_numbers_come_from_official_names_only() -> None:
    names = ("COCO_train2014_000000000042.jpg", "000000000042.png", "train2017/000000000042.jpg", "1000000000042.jpg")
    assert [image_number(name) for name in names] == [42, 42, 42, None]


def test_context_joins_captions_and_boxes_of_the_wanted_images(root, coco_files) -> None:
    coco_files()
    assert read_context(root.path, "coco", {7}) == {7: (["A cat."], [["cat", 0.1, 0.2, 0.4, 0.6]])}
    assert read_context(root.path, "coco", {8}) == {}
    assert read_context(root.path, "nowhere", {7}) == {}


def test_objects_known_from_elsewhere_come_along(root, coco_files) -> None:
    coco_files()
    root.json("coco/annotations/chair_objects.json", {"7": ["cat", "chair"], "8": ["dog"], "x": 1})
    (sample,), _ = root.read("coco", "coco", "train2014")
    assert sample.extras["objects"] == ["cat", "chair"]
