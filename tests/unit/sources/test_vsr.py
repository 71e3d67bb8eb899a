ROW = {"image": "000000000007.jpg", "caption": "The cat is on the mat.", "label": 1, "relation": "on"}


def test_a_split_is_found_in_the_repository_and_in_the_hugging_face_form(root) -> None:
    for name, split in [
        ("dev.jsonl", "dev"),
        ("random_dev.jsonl", "dev"),
        ("splits/random/dev.jsonl", "dev"),
        ("data/splits/zeroshot/dev.jsonl", "zeroshot_dev"),
    ]:
        with root.case(name, split):
            root.lines(f"vsr/{name}", ROW)
            (sample,), rejects = root.read("vsr", "vsr", split)
            assert (sample.id, sample.extras["question_type"], rejects) == (f"vsr/{split}/1", "on", [])


def test_random_and_zero_shot_lie_side_by_side(root) -> None:
    for part in ("random", "zeroshot"):
        root.lines(f"vsr/splits/{part}/test.jsonl", {**ROW, "caption": f"{part}."})
    (plain,), _ = root.read("vsr", "vsr", "test")
    (zero,), _ = root.read("vsr", "vsr", "zeroshot_test")
    assert (plain.extras["statement"], zero.extras["statement"]) == ("random.", "zeroshot.")


def test_the_image_is_the_datasets_own_or_where_its_link_says(root) -> None:
    root.lines("vsr/dev.jsonl", {**ROW, "image_link": "http://images.cocodataset.org/val2017/000000000007.jpg"})
    (sample,), _ = root.read("vsr", "vsr", "dev")
    assert sample.images[0].path == "coco/val2017/000000000007.jpg"
    root.image("vsr/images/000000000007.jpg")
    (sample,), _ = root.read("vsr", "vsr", "dev")
    assert sample.images[0].path == "vsr/images/000000000007.jpg"


def test_a_broken_row_loses_only_itself(root) -> None:
    for values, reason in [
        ({"label": None}, "row lacks 'label'"),
        ({"label": 2}, "'label' is neither true nor false"),
        ({"label": "perhaps"}, "'label' is neither true nor false"),
        ({"label": [1]}, "'label' is neither true nor false"),
        ({"caption": " "}, "row has an empty 'caption'"),
        ({"image": "../7.jpg"}, "image path leaves the data root"),
    ]:
        with root.case(values, reason):
            root.lines("vsr/dev.jsonl", {**ROW, **values}, ROW)
            samples, (reject,) = root.read("vsr", "vsr", "dev")
            assert (len(samples), reject.row, reject.reason) == (1, "1", reason)
