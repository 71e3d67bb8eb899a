ROW = {"imgname": "8127.png", "query": "What is the lowest bar?", "label": "23"}


def test_human_questions_come_before_augmented_ones(root) -> None:
    place = "chartqa/ChartQA Dataset/test"
    root.json(f"{place}/test_augmented.json", [ROW])
    root.json(f"{place}/test_human.json", [ROW, {**ROW, "label": "Yes"}])
    samples, rejects = root.read("chartqa", "chartqa", "test")
    names = ["test_human-0", "test_human-1", "test_augmented-0"]
    assert ([s.id.rpartition("/")[2] for s in samples], rejects) == (names, [])
    assert (samples[0].instruction, samples[0].response) == ("What is the lowest bar?", "23")
    assert samples[0].images[0].path == f"{place}/png/8127.png"
    assert [s.extras["question_type"] for s in samples] == ["human", "human", "augmented"]


def test_one_half_is_a_split_of_its_own(root) -> None:
    for kind in ("human", "augmented"):
        root.json(f"chartqa/val/val_{kind}.json", [ROW])
    (sample,), _ = root.read("chartqa", "chartqa", "val_augmented")
    assert sample.id == "chartqa/val_augmented/val_augmented-0"


def test_a_broken_row_loses_only_itself(root) -> None:
    for values, reason in [
        ({"label": ""}, "row has an empty 'label'"),
        ({"label": 23}, "'label' is not of type str"),
        ({"query": None}, "row lacks 'query'"),
        ({"imgname": "/etc/8127.png"}, "image path leaves the data root"),
    ]:
        with root.case(values, reason):
            root.json("chartqa/test/test_human.json", [{**ROW, **values}, ROW])
            samples, (reject,) = root.read("chartqa", "chartqa", "test")
            assert (len(samples), reject.row, reject.reason) == (1, "0", reason)
