ROW = {"image_id": 7, "text_in": "How many cats are there in the image?", "text_out": "2", "n_obj_exist": 5}


def test_counts_and_yes_or_no_are_read_on_coco(root) -> None:
    root.json("gvt/coco_oc.json", [ROW])
    root.json("gvt/coco_mci.json", [{**ROW, "text_in": "Does cat exist in the image?", "text_out": "Yes."}])
    (count,), _ = root.read("gvt", "gvt", "coco_oc")
    (there,), _ = root.read("gvt", "gvt", "coco_mci")
    assert (count.id, count.response, count.extras["question_type"]) == ("gvt/coco_oc/0", "2", "count")
    assert (there.response, there.extras["question_type"]) == ("Yes.", "yes/no")
    assert count.images[0].path == "coco/val2017/000000000007.jpg"


def test_images_of_vcr_are_named_by_path(root) -> None:
    root.json("gvt/GVTBench/vcr_mci.json", [{**ROW, "image_id": "movie_a/b@0.jpg"}])
    (sample,), _ = root.read("gvt", "gvt", "vcr_mci")
    assert sample.images[0].path == "vcr/vcr1images/movie_a/b@0.jpg"


def test_a_broken_row_loses_only_itself(root) -> None:
    for split, values, reason in [
        ("coco_oc", {"image_id": "7"}, "'image_id' is not of type int"),
        ("coco_oc", {"text_out": None}, "row lacks 'text_out'"),
        ("vcr_oc", {"image_id": "../../7.jpg"}, "image path leaves the data root"),
        ("vcr_oc", {"text_in": " "}, "row has an empty 'text_in'"),
    ]:
        with root.case(split, values, reason):
            right = {**ROW, "image_id": 7 if split == "coco_oc" else "a/b.jpg"}
            root.json(f"gvt/{split}.json", [{**right, **values}, right])
            samples, (reject,) = root.read("gvt", "gvt", split)
            assert (len(samples), reject.row, reject.reason) == (1, "0", reason)
