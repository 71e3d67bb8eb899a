"""VQA-X, LXMERT's form, DAQUAR, e-SNLI-VE, VQuAnDa and ParaQA, one test per trap of their formats."""

from __future__ import annotations

from typing import Any

import pytest

from polite_flamingo.records import Task


def test_vqa_x_gives_the_majority_with_its_first_explanation(root) -> None:
    row = {
        "question": "Is it asleep?",
        "answers": [{"answer": "yes"}, {"answer": "no"}, {"answer": "yes"}],
        "image_name": "COCO_val2014_000000000007.jpg",
        "explanation": ["its eyes  are closed", "it lies down"],
    }
    root.image("coco/val2014_224/COCO_val2014_000000000007.jpg")
    rows = {"70": {**row, "split": "val"}, "71": {**row, "split": "test"}, "72": {**row, "image_name": "cat.jpg"}}
    root.json("vqa_x/vqaX.json", rows)
    (sample,), (reject,) = root.read("vqa_x", "vqa_x", "val")
    assert (sample.id, sample.response) == ("vqa_x/val/70", "Answer: Yes. its eyes are closed")
    assert sample.images[0].path == "coco/val2014_224/COCO_val2014_000000000007.jpg"
    assert sample.extras["rationales"] == ["its eyes are closed", "it lies down"]
    assert (reject.row, reject.reason) == ("72", "'image_name' is no COCO file name")


def test_of_soft_answers_the_best_one_is_taken(root) -> None:
    row: dict[str, Any] = {"sent": "What plant?", "question_id": 1, "img_id": "COCO_val2014_000000000007"}
    labels = [{"ivy": 0.667, "vine": 1, "weed": 1}, {}, {"ivy": "much"}]
    root.json("okvqa/okvqa_val_soft_answers.json", [{**row, "label": label} for label in labels])
    (sample,), rejects = root.read("lxmert_vqa", "okvqa", "val")
    assert (sample.response, sample.extras["answers"]) == ("vine", ["ivy", "vine", "weed"])
    assert sample.images[0].path == "coco/val2014/COCO_val2014_000000000007.jpg"
    assert [r.reason for r in rejects] == ["question has no answer", "'label' is not answers with their scores"]


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("what is on the table in the image7 ?", "what is on the table?"),
        ("what is on the right side of the image 7 ?", "what is on the right side of the image?"),
        ("what is in the image7 on the table in the image7 ?", "what is on the table?"),
    ],
)
def test_the_number_of_the_image_is_no_part_of_daquars_question(root, line: str, question: str) -> None:
    root.image("daquar/images/image7.jpg")
    root.text("daquar/qa_pairs.txt", f"{line}\ntape_dispenser, book\n")
    (sample,), _ = root.read("daquar", "daquar", "all")
    assert (sample.turns[0].text, sample.response) == (question, "tape dispenser, book")
    assert (sample.id, sample.images[0].path) == ("daquar/all/image7-1", "daquar/images/image7.jpg")


def test_a_line_lost_in_daquar_costs_one_question(root) -> None:
    root.text("daquar/qa.37.raw.train.txt", "lost\nwhat in the image1 ?\nhow in the image2 ?\n3\nwhy in the image4 ?\n")
    (sample,), rejects = root.read("daquar", "daquar", "37_train")
    assert (sample.turns[0].text, sample.response) == ("how?", "3")
    assert sample.images[0].path == "daquar/nyu_depth_images/image2.png"
    assert [(r.row, r.reason) for r in rejects] == [
        ("1", "answer without a question"),
        ("2", "question has no answer"),
        ("5", "question has no answer"),
    ]


def test_the_three_labels_of_esnlive_are_answers(root) -> None:
    root.text(
        "esnlive/esnlive_dev.csv",
        "pairID,Flickr30kID,hypothesis,gold_label,explanation\n"
        '1#0,1.jpg,"A man, a dog.",contradiction,Nobody is there.\n'
        "1#1,1.jpg,It rains.,neutral,The sky is not shown.\n"
        "1#2,1.jpg,It rains.,-,Nobody agreed.\n",
    )
    (no, unknown), (reject,) = root.read("esnlive", "esnlive", "dev")
    assert no.turns[0].text == 'Is this so: "A man, a dog." yes, no, or it cannot be told?'
    assert (no.response, no.extras["short_answer"]) == ("Answer: No. Nobody is there.", "no")
    assert unknown.response == "Answer: It cannot be told. The sky is not shown."
    assert no.images[0].path == "flickr30k/flickr30k-images/1.jpg"
    assert reject.reason == "'gold_label' is none of the three"


def test_the_brackets_of_a_verbalised_answer_hold_the_short_one(root) -> None:
    row = {"uid": "1", "question": "Who?", "verbalized_answer": "The writers are [Ann, Bob, *]."}
    slot = {"uid": "2", "question": "Who?", "verbalized_answer": "It is [answer]."}
    several = {"uid": "3", "question": "Who?", "verbalized_answer": "[Yes], she is.", "verbalized_answer_3": "She is."}
    root.json("qa/train.json", [row, slot, {"uid": "4", "question": "Who?", "verbalized_answer": " "}])
    root.json("qa/paraqa.json", [several])
    (sample,), rejects = root.read("vquanda", "qa", "train")
    assert (sample.task, sample.response) == (Task.TEXT, "The writers are Ann, Bob.")
    assert sample.extras["short_answer"] == "Ann, Bob"
    assert [r.reason for r in rejects] == ["the answer is left out of the sentence", "row has no sentence"]
    (sample,), _ = root.read("paraqa", "qa", "all")
    assert (sample.response, sample.extras["answers"]) == ("Yes, she is.", ["Yes, she is.", "She is."])
