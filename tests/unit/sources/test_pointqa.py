from typing import Any

import pytest
from PIL import Image as PILImage
from tests.unit.cases import case

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import POINTED
from polite_flamingo.sources.forms.regions import RGB

LOCAL = {
    "id": 7,
    "question": "What color is this shirt?",
    "all_ans": ["red", "blue"],
    "all_objs": [{"x": 1, "y": 1, "w": 4, "h": 4}, {"x": 30, "y": 30, "w": 4, "h": 4}],
    "points": [{"x": 10, "y": 12, "ans": "red"}, {"x": 50, "y": 40, "ans": "blue"}],
}
TWICE = {
    "id": 7,
    "obj_question": "How many of these dogs are there?",
    "super_question": "How many of these beings are there?",
    "general_question": "How many of these are there?",
    "ans": "2",
    "bbox": {"x": 5, "y": 5, "w": 9, "h": 9, "names": ["dog"]},
    "point": {"x": 9, "y": 9, "ans": "2"},
    "obj_type": "dogs",
}


@pytest.fixture
def genome(root):
    """The picture of id 7 lies in the second part of Visual Genome."""
    root.image("visual_genome/VG_100K_2/7.jpg", (64, 48))
    return root


def local(root, *records: Any, base: str = "pointqa/Datasets") -> None:
    root.json(f"{base}/LocalQA/localqa_dataset.json", {"7": list(records), "8": [LOCAL]})
    root.json(f"{base}/LocalQA/localqa_train_imgs.json", ["7"])


def twice(root, *records: Any) -> None:
    root.json("pointqa/LookTwiceQA/looktwiceqa_dataset.json", {"7": list(records)})
    root.json("pointqa/LookTwiceQA/looktwiceqa_val_imgs.json", ["7"])


def test_a_local_question_gives_a_sample_per_point_with_that_points_answer(genome) -> None:
    for base in ["pointqa", "pointqa/Datasets"]:
        with case(base):
            local(genome, LOCAL, base=base)
            samples, rejects = genome.read("pointqa", "pointqa", "local_train")
            assert [(s.id, s.response) for s in samples] == [
                ("pointqa/local_train/7-0-0", "red"),
                ("pointqa/local_train/7-0-1", "blue"),
            ]
            assert (rejects, samples[0].extras["question_type"]) == ([], "local")


def test_the_arrow_is_drawn_and_the_instruction_names_it(genome) -> None:
    local(genome, LOCAL)
    (first, second), _ = genome.read("pointqa", "pointqa", "local_train")
    ((drawn, origin),) = first.extras["derived_from"].items()
    assert drawn == first.images[0].path != second.images[0].path
    assert origin["image"] == "visual_genome/VG_100K_2/7.jpg"
    assert (origin["mark"]["kind"], origin["mark"]["geometry"]) == ("arrow", [10.0, 12.0])
    colour = origin["mark"]["colour"]
    wordings = [text.format(mark=f"{colour} arrow", question=LOCAL["question"]) for text in POINTED]
    assert first.instruction in wordings
    with PILImage.open(genome.path / drawn) as picture:
        assert picture.size == (64, 48)
        assert RGB[colour] in picture.convert("RGB").getdata()


def test_reading_again_gives_the_same_samples_and_another_seed_other_ones(genome) -> None:
    local(genome, *[LOCAL] * 8)
    first, _ = genome.read("pointqa", "pointqa", "local_train")
    assert first == genome.read("pointqa", "pointqa", "local_train")[0]
    from polite_flamingo.sources import load_source

    assert first != list(load_source("pointqa").read(genome.path, "pointqa", "local_train", seed=2))


def test_only_images_of_the_split_are_read_and_those_that_lack_are_said(genome) -> None:
    local(genome, LOCAL)
    genome.json("pointqa/Datasets/LocalQA/localqa_testdev_imgs.json", [9, "7"])
    samples, (reject,) = genome.read("pointqa", "pointqa", "local_testdev")
    assert len(samples) == 2
    assert (reject.row, reject.reason) == ("9", "image of the split is not in the file")


def test_look_twice_questions_are_read_in_each_of_their_wordings(genome) -> None:
    for name, field in [("looktwice", "super_question"), ("object", "obj_question"), ("general", "general_question")]:
        with case(name, field):
            twice(genome, TWICE)
            (sample,), _ = genome.read("pointqa", "pointqa", f"{name}_val")
            assert (sample.id, sample.response) == (f"pointqa/{name}_val/7-0", "2")
            assert TWICE[field] in sample.instruction


def test_the_answer_is_found_under_either_spelling(genome) -> None:
    row = {key: value for key, value in TWICE.items() if key != "ans"}
    twice(genome, {**row, "answer": "3"})
    (sample,), _ = genome.read("pointqa", "pointqa", "looktwice_val")
    assert sample.response == "3"


def test_spatial_questions_point_and_verbal_ones_do_not(genome) -> None:
    point = {"x": 9, "y": 9, "ans": "tan"}
    spatial = {"question": "What color is this cow?", "answer": "tan", "point": point, "id": 7}
    verbal = {"question": "What color is the cow on the left?", "answer": "tan", "id": 7}
    genome.json("pointqa/VerbalSpatial/spatial_dataset.json", {"7": [spatial, spatial]})
    genome.json("pointqa/VerbalSpatial/verbal_dataset.json", {"7": [verbal]})
    genome.json("pointqa/VerbalSpatial/test_imgs_vs.json", ["7"])
    samples, _ = genome.read("pointqa", "pointqa", "spatial_test")
    assert [s.id for s in samples] == ["pointqa/spatial_test/7-0", "pointqa/spatial_test/7-1"]
    assert samples[0].images[0].path.startswith("derived/")
    (sample,), _ = genome.read("pointqa", "pointqa", "verbal_test")
    assert (sample.instruction, sample.response) == (verbal["question"], "tan")
    assert (sample.images[0].path, "derived_from" in sample.extras) == ("visual_genome/VG_100K_2/7.jpg", False)


def test_intent_questions_are_on_images_of_pascal(root) -> None:
    root.image("voc2010/JPEGImages/2008_000027.jpg", (64, 48))
    row = {"id": "2008_000027", "question": "What is this referring to?", "ans": "part", "object": "dog"}
    row["point"] = {"ans": "part", "x": 9, "y": 9}
    root.json("pointqa/IntentQA/intentqa_vqa.json", {"2008_000027": [row]})
    root.json("pointqa/IntentQA/intentqa_testfinal_imgs.json", ["2008_000027"])
    (sample,), _ = root.read("pointqa", "pointqa", "intent_testfinal")
    (origin,) = sample.extras["derived_from"].values()
    assert (sample.response, origin["image"]) == ("part", "voc2010/JPEGImages/2008_000027.jpg")


def test_a_broken_question_or_point_is_rejected_alone(genome) -> None:
    for record, row, reason in [
        ({**LOCAL, "points": []}, "7[0]", "question has no point"),
        ({**LOCAL, "points": None}, "7[0]", "row lacks 'points'"),
        ({**LOCAL, "points": [{"x": 1, "y": 2}]}, "7[0].points[0]", "row lacks 'ans'"),
        ({**LOCAL, "points": [{"x": "1", "y": 2, "ans": "red"}]}, "7[0].points[0]", "'x' is not of type float"),
        ({**LOCAL, "points": [{"x": 900, "y": 2, "ans": "red"}]}, "7[0].points[0]", "region lies outside the image"),
        ({**LOCAL, "points": LOCAL["points"][:1], "question": ""}, "7[0].points[0]", "row has an empty 'question'"),
        ("text", "7[0]", "row is not an object"),
    ]:
        with case(record, row, reason):
            local(genome, record, LOCAL)
            samples, (reject,) = genome.read("pointqa", "pointqa", "local_train")
            assert [s.response for s in samples] == ["red", "blue"]
            assert (reject.row, reject.reason) == (row, reason)


def test_an_image_that_is_not_at_hand_rejects_its_questions(root) -> None:
    local(root, LOCAL)
    samples, rejects = root.read("pointqa", "pointqa", "local_train")
    assert (samples, [r.reason for r in rejects]) == ([], ["image is missing"] * 2)


def test_an_image_whose_questions_are_no_list_is_rejected(root) -> None:
    root.json("pointqa/LocalQA/localqa_dataset.json", {"7": {"question": "?"}, "../8": [LOCAL]})
    root.json("pointqa/LocalQA/localqa_train_imgs.json", ["7", "../8"])
    samples, rejects = root.read("pointqa", "pointqa", "local_train")
    assert samples == []
    assert [r.reason for r in rejects] == ["image has no list of questions", *["image path leaves the data root"] * 2]


def test_an_unknown_split_names_those_there_are(root) -> None:
    for split in ["train", "local_test", "global_train", "verbal_testdev"]:
        with root.case(split), pytest.raises(DataError, match=r"no such split[\s\S]*local_testfinal"):
            root.read("pointqa", "pointqa", split)
