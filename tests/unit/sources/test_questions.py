from typing import Any

import pytest

from polite_flamingo.records import Task

IMAGE = "coco/train2014/COCO_train2014_000000000007.jpg"


def vqa_files(root, questions: Any, annotations: Any, folder: str = "vqav2", subset: str = "train2014") -> None:
    root.json(f"{folder}/v2_OpenEnded_mscoco_{subset}_questions.json", {"questions": questions})
    root.json(f"{folder}/v2_mscoco_{subset}_annotations.json", {"annotations": annotations})


QUESTION = {"image_id": 7, "question": "What is it?", "question_id": 71}
ANNOTATION = {
    "question_id": 71,
    "image_id": 7,
    "multiple_choice_answer": "cat",
    "question_type": "what is",
    "answer_type": "other",
    "answers": [{"answer": "cat"}, {"answer": "kitten"}],
}


def test_vqav2_joins_on_the_question_id_and_takes_the_majority_answer(root) -> None:
    root.image(IMAGE)
    other = {**QUESTION, "question_id": 72, "question": "Why?"}
    vqa_files(root, [other, QUESTION], [ANNOTATION, {**ANNOTATION, "question_id": 72, "multiple_choice_answer": "fun"}])
    (first, second), rejects = root.read("vqav2", "vqav2", "train")
    assert (first.id, first.instruction, first.response) == ("vqav2/train/71", "What is it?", "cat")
    assert (second.instruction, second.response) == ("Why?", "fun")
    assert first.images[0].path == IMAGE
    assert first.extras == {"answers": ["cat", "kitten"], "question_type": "what is", "answer_type": "other"}
    assert rejects == []


def test_vqav2_rejects_rows_that_do_not_join_or_lack_an_answer(root) -> None:
    for question, annotation, reasons in [
        (QUESTION, {**ANNOTATION, "multiple_choice_answer": ""}, ["row has an empty 'multiple_choice_answer'"]),
        (QUESTION, {"question_id": 71}, ["row lacks 'multiple_choice_answer'"]),
        ({**QUESTION, "question": None}, ANNOTATION, ["row lacks 'question'"]),
        ({"question": "Hm?"}, ANNOTATION, ["row lacks 'question_id'", "annotation of an unknown or repeated question"]),
        (
            QUESTION,
            {**ANNOTATION, "question_id": 99},
            ["annotation of an unknown or repeated question", "question has no annotation"],
        ),
    ]:
        with root.case(question, annotation, reasons):
            vqa_files(root, [question], [annotation])
            samples, rejects = root.read("vqav2", "vqav2", "train")
            assert (samples, [r.reason for r in rejects]) == ([], reasons)


def test_a_label_that_vqav2_does_not_know_names_the_only_split_of_its_folder(root) -> None:
    root.image("vqav2_ood/val2014/COCO_val2014_000000000007.png")
    vqa_files(root, [QUESTION], [ANNOTATION], folder="vqav2_ood", subset="val2014")
    (sample,), _ = root.read("vqav2", "vqav2_ood", "out_of_domain")
    assert (sample.id, sample.split) == ("vqav2/out_of_domain/71", "out_of_domain")
    assert sample.images[0].path == "vqav2_ood/val2014/COCO_val2014_000000000007.png"


def test_an_official_split_is_never_read_from_another_splits_file(root) -> None:
    from polite_flamingo.errors import DataError

    vqa_files(root, [QUESTION], [ANNOTATION], subset="val2014")
    with pytest.raises(DataError, match="no annotation file"):
        root.read("vqav2", "vqav2", "train")


AOKVQA = {
    "image_id": 7,
    "question_id": "q7",
    "question": "What is it?",
    "choices": ["dog", "cat", "cow", "hen"],
    "correct_choice_idx": 1,
    "direct_answers": ["cat"],
    "rationales": ["It has whiskers.", "It purrs.", "It is small."],
}


def test_aokvqa_asks_with_choices_and_answers_with_rationales(root) -> None:
    root.image("coco/val2017/000000000007.jpg")
    root.json("aokvqa/aokvqa_v1p0_val.json", [AOKVQA])
    (sample,), _ = root.read("aokvqa", "aokvqa", "val")
    assert sample.instruction == "What is it? dog, cat, cow, or hen?"
    assert sample.response == "Answer: Cat. It has whiskers. It purrs. It is small."
    assert sample.images[0].path == "coco/val2017/000000000007.jpg"
    assert sample.extras["short_answer"] == "cat"


def test_aokvqa_rejects_a_row_without_its_answer(root) -> None:
    for values, reason in [
        ({"correct_choice_idx": 4}, "'correct_choice_idx' names no choice"),
        ({"correct_choice_idx": None}, "row lacks 'correct_choice_idx'"),
        ({"rationales": []}, "row has an empty 'rationales'"),
        ({"choices": "dog"}, "'choices' is not of type list"),
    ]:
        with root.case(values, reason):
            root.json("aokvqa/aokvqa_v1p0_val.json", [{**AOKVQA, **values}, {**AOKVQA, "question_id": "q8"}])
            (sample,), (reject,) = root.read("aokvqa", "aokvqa", "val")
            assert (sample.id, reject.row, reject.reason) == ("aokvqa/val/q8", "0", reason)


def test_clevr_yields_one_sample_per_question_and_rejects_unanswered_ones(root) -> None:
    row = {"question_index": 0, "image_filename": "CLEVR_val_000000.png", "question": "How many?", "answer": "3"}
    bad = [{**row, "question_index": 1, "answer": None}, {**row, "image_filename": "../../x.png"}]
    root.json("clevr/questions/CLEVR_val_questions.json", {"questions": [row, *bad]})
    (sample,), rejects = root.read("clevr", "clevr", "val")
    assert (sample.id, sample.response) == ("clevr/val/0", "3")
    assert sample.images[0].path == "clevr/images/val/CLEVR_val_000000.png"
    assert [r.reason for r in rejects] == ["row lacks 'answer'", "image path leaves the data root"]


def test_vsr_asks_for_true_or_false(root) -> None:
    root.image("coco/val2017/000000000007.jpg")
    row = {"image": "000000000007.jpg", "caption": "The cat is on the mat.", "label": 0, "relation": "on"}
    outside = {**row, "image": "/etc/000000000007.jpg"}
    root.lines("vsr/dev.jsonl", row, {**row, "label": 1}, {**row, "label": 2}, outside)
    (false, true), rejects = root.read("vsr", "vsr", "dev")
    assert (false.response, true.response) == ("False", "True")
    assert '"The cat is on the mat."' in false.instruction
    assert false.images[0].path == "coco/val2017/000000000007.jpg"
    assert [r.reason for r in rejects] == ["'label' is neither true nor false", "image path leaves the data root"]


def test_spot_the_diff_shows_both_images_in_official_order(root) -> None:
    rows = [{"img_id": "12", "sentences": [" a car left", "", "a man came "]}, {"img_id": "13", "sentences": []}]
    root.json("spot_the_diff/annotations/val.json", rows)
    (sample,), (reject,) = root.read("spot_the_diff", "spot_the_diff", "val")
    assert sample.task is Task.CHANGE
    assert [i.path for i in sample.images] == [f"spot_the_diff/resized_images/12{s}.png" for s in ("", "_2")]
    assert sample.turns[0].images == (0, 1)
    assert sample.response == "a car left\na man came"
    assert (reject.row, reject.reason) == ("1", "row has an empty 'sentences'")


def test_flickr8k_groups_captions_and_rejects_malformed_lines(root) -> None:
    root.image("flickr8k/images/a_1.jpg")
    lines = ("a_1.jpg#0\tA dog .", "no tab here", "a_1.jpg#1\tA black dog .", "b_2.jpg#0\tA cat .")
    root.text("flickr8k/Flickr8k.token.txt", "\n".join(lines))
    (first, second), (reject,) = root.read("flickr8k", "flickr8k", "all")
    assert (first.id, first.response) == ("flickr8k/all/a_1", "A dog .\nA black dog .")
    assert first.images[0].path == "flickr8k/images/a_1.jpg"
    assert second.id == "flickr8k/all/b_2"
    assert (reject.row, reject.value) == ("2", "no tab here")


def test_flickr8k_reads_a_split_from_its_official_list(root) -> None:
    root.text("flickr8k/Flickr8k.token.txt", "a_1.jpg#0\tA dog .\nb_2.jpg#0\tA cat .\n")
    root.text("flickr8k/Flickr_8k.testImages.txt", "b_2.jpg\n")
    (sample,), _ = root.read("flickr8k", "flickr8k", "test")
    assert sample.id == "flickr8k/test/b_2"
