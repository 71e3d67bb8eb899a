ROW = {
    "question_id": 1,
    "image": "COCO_val2014_000000000007.jpg",
    "text": "Is there a cat in the image?",
    "label": "yes",
}


def test_a_file_named_json_is_read_as_json_lines(root) -> None:
    for place in ["", "coco/", "output/coco/"]:
        with root.case(place):
            root.lines(f"pope/{place}coco_pope_random.json", ROW, {**ROW, "question_id": 2, "label": "No"})
            (yes, no), rejects = root.read("pope", "pope", "random")
            assert (yes.id, yes.instruction, yes.response, no.response) == ("pope/random/1", ROW["text"], "yes", "no")
            assert yes.images[0].path == "coco/val2014/COCO_val2014_000000000007.jpg"
            assert rejects == []


def test_a_broken_row_loses_only_itself(root) -> None:
    for values, reason in [
        ({"label": "perhaps"}, "'label' is neither yes nor no"),
        ({"text": ""}, "row has an empty 'text'"),
        ({"question_id": "1"}, "'question_id' is not of type int"),
        ({"image": "../x.jpg"}, "image path leaves the data root"),
    ]:
        with root.case(values, reason):
            root.lines("pope/coco_pope_popular.json", {**ROW, **values}, ROW)
            samples, (reject,) = root.read("pope", "pope", "popular")
            assert (len(samples), reject.row, reject.reason) == (1, "1", reason)
