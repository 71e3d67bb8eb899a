import gzip
import json
from pathlib import Path

from polite_flamingo.records import Sample, Task
from polite_flamingo.sources import load_source


def llava_row(identifier: str = "000000000007", image: str = "000000000007.jpg", **values):
    turns = [{"from": "human", "value": "What is it?\n<image>"}, {"from": "gpt", "value": "It is a cat."}]
    return {"id": identifier, "image": image, "conversations": turns, **values}


def test_llava_dialogues_keep_every_turn_and_show_the_image_first(root) -> None:
    root.image("coco/train2017/000000000007.jpg")
    row = llava_row()
    row["conversations"] += [{"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes, quite."}]
    root.json("llava/conversation_58k.json", [row])
    (sample,), _ = root.read("llava_instruct", "llava", "train")
    assert sample.task is Task.DIALOGUE
    assert [(t.role, t.text, t.images) for t in sample.turns] == [
        ("human", "What is it?", (0,)),
        ("assistant", "It is a cat.", ()),
        ("human", "Sure?", ()),
        ("assistant", "Yes, quite.", ()),
    ]
    assert sample.images[0].path == "coco/train2017/000000000007.jpg"


def test_llava_ids_that_repeat_stay_apart(root) -> None:
    root.json("llava/complex_reasoning_77k.json", [llava_row(), llava_row()])
    samples, _ = root.read("llava_instruct", "llava", "train")
    stem = "llava_instruct/train/complex_reasoning-000000000007"
    assert [s.id for s in samples] == [stem, f"{stem}-2"]


def test_llava_details_alone_carry_captions_and_boxes(root, coco_files) -> None:
    coco_files()
    root.json("llava/detail_23k.json", [llava_row(image="COCO_train2014_000000000007.jpg")])
    root.json("llava/complex_reasoning_77k.json", [llava_row()])
    (reasoning, detail), _ = root.read("llava_instruct", "llava", "train")
    assert detail.extras == {"captions": ["A cat."], "boxes": [["cat", 0.1, 0.2, 0.4, 0.6]]}
    assert reasoning.extras == {}
    assert detail.images[0].path == "coco/train2014/COCO_train2014_000000000007.jpg"


def test_llava_rejects_a_broken_row_and_goes_on(root) -> None:
    for values, reason in [
        ({"conversations": []}, "turns must alternate human, assistant"),
        ({"conversations": [{"from": "human", "value": "Hm?"}]}, "turns must alternate human, assistant"),
        (
            {"conversations": [{"from": "human", "value": "Hm?"}, {"from": "gpt", "value": ""}]},
            "row has an empty 'value'",
        ),
        (
            {"conversations": [{"from": "human", "value": "Hm?"}, {"from": "bing", "value": "Yes."}]},
            "turn is neither of 'human' nor of 'gpt'",
        ),
        ({"image": "../../000000000007.jpg"}, "image path leaves the data root"),
        ({"image": None}, "row lacks 'image'"),
    ]:
        with root.case(values, reason):
            root.json("llava/detail_23k.json", [llava_row(**values), llava_row(identifier="next")])
            (sample,), (reject,) = root.read("llava_instruct", "llava", "train")
            assert sample.id == "llava_instruct/train/detail-next"
            assert (reject.file, reject.row, reject.reason) == ("llava/detail_23k.json", "0", reason)


def eval_files(root) -> None:
    root.lines(
        "llava/qa90_questions.jsonl",
        {"question_id": 0, "image": "000000000007.jpg", "text": "Describe it.", "category": "detail"},
        {"question_id": 1, "image": "000000000007.jpg", "text": "Why?", "category": "complex"},
    )
    root.lines("llava/qa90_gpt4_answer.jsonl", {"question_id": 0, "text": "A cat sits."})
    name = "COCO_val2014_000000000007.jpg"
    root.lines(
        "llava/coco2014_val_gpt4_qa_30x3.jsonl",
        {"id": "000000000007", "image": name, "instruction": "Describe it.", "output": "A cat sits.", "type": "detail"},
        {"id": "000000000007", "image": name, "instruction": "What?", "output": "A cat.", "type": "conv"},
    )
    instance = {"category": "cat", "bbox": [0.1, 0.2, 0.3, 0.4]}
    root.lines(
        "llava/caps_boxes_coco2014_val_80.jsonl",
        {"image": "000000000007.jpg", "captions": ["A cat."], "instances": [instance]},
    )


def test_llava_eval_joins_answers_and_takes_a_question_once(root) -> None:
    eval_files(root)
    (detail, talk), (reject,) = root.read("llava_eval", "llava", "val")
    assert (detail.id, detail.task, detail.response) == (
        "llava_eval/val/000000000007-detail",
        Task.DETAIL,
        "A cat sits.",
    )
    assert detail.extras["captions"] == ["A cat."]
    assert detail.extras["boxes"] == [["cat", 0.1, 0.2, 0.3, 0.4]]
    assert (talk.task, "captions" in talk.extras) == (Task.DIALOGUE, False)
    assert (reject.file, reject.row, reject.reason) == ("llava/qa90_questions.jsonl", "2", "row lacks 'output'")


def test_llava_eval_says_when_the_picture_is_not_at_hand(root) -> None:
    eval_files(root)
    (detail, _), _ = root.read("llava_eval", "llava", "val")
    assert (detail.images, detail.turns[0].images, detail.extras["image_missing"]) == ((), (), True)
    root.image("coco/val2014/COCO_val2014_000000000007.jpg")
    (detail, _), _ = root.read("llava_eval", "llava", "val")
    assert (len(detail.images), detail.turns[0].images, "image_missing" in detail.extras) == (1, (0,), False)


def test_ultrachat_is_read_as_json_lines_and_an_open_question_is_left_off(root) -> None:
    name = "ultrachat/ultrachat_release_230407_Questions [Part I + Part II].json"
    data = (["Hi", "Hello.", "Bye"], ["Hi"], [1, 2])
    root.lines(name, *({"id": str(i), "data": turns} for i, turns in enumerate(data)))
    with open(root.path / name, "a", encoding="utf-8") as file:
        file.write('{"id": "3", "data": ["Hi"\n{"id": "4", "data": ["Hi", "Hello again."]}\n')
    (first, last), rejects = root.read("ultrachat", "ultrachat", "train")
    assert [t.text for t in first.turns] == ["Hi", "Hello."]
    assert first.id == "ultrachat/train/ultrachat_release_230407_Questions_Part_I_Part_II-0"
    assert last.response == "Hello again."
    assert [(r.row, r.reason.partition(":")[0]) for r in rejects] == [
        ("2", "dialogue has no answer"),
        ("3", "'data' holds something other than text"),
        ("4", "line is not valid JSON"),
    ]


def message(role: str, text: str, *replies, **values):
    return {"role": role, "text": text, "replies": list(replies), "lang": "en", **values}


def test_oasst_follows_the_best_ranked_replies(root) -> None:
    good = message("assistant", "Good.", message("prompter", "More?", message("assistant", "More good.")), rank=0)
    unranked = message("assistant", "Unranked.")
    deleted = message("assistant", "Deleted.", rank=-1, deleted=True)
    tree = {"message_tree_id": "t1", "prompt": message("prompter", "Hi?", unranked, deleted, good)}
    root.lines("oasst/ready.trees.jsonl", tree)
    (sample,), _ = root.read("oasst", "oasst", "train")
    assert [t.text for t in sample.turns] == ["Hi?", "Good.", "More?", "More good."]


def test_oasst_passes_over_other_languages_and_rejects_unanswered_prompts(root) -> None:
    spanish = {"message_tree_id": "t1", "prompt": message("prompter", "Hola?", message("assistant", "Si."), lang="es")}
    alone = {"message_tree_id": "t2", "prompt": message("prompter", "Hi?")}
    path = root.path / "oasst" / "ready.trees.jsonl.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress("".join(json.dumps(t) + "\n" for t in (spanish, alone)).encode()))
    samples, (reject,) = root.read("oasst", "oasst", "train")
    assert (samples, reject.row, reject.reason) == ([], "2", "prompt has no reply")


def test_gpteacher_accepts_response_and_output_and_alpaca_only_output(root) -> None:
    rows = [
        {"instruction": "Add.", "input": "1 and 2", "response": "3"},
        {"instruction": "Greet.", "input": "", "output": "Hello."},
        {"instruction": "Say nothing.", "input": "No input.", "response": " "},
    ]
    root.json("text/gpteacher_roleplay.json", rows)
    root.json("text/alpaca_data.json", rows)
    (add, greet), (empty,) = root.read("gpteacher", "text", "train")
    assert (add.instruction, add.response, greet.response) == ("Add.\n\n1 and 2", "3", "Hello.")
    assert (empty.row, empty.reason) == ("2", "row has an empty 'response'")
    (only,), rejects = root.read("alpaca", "text", "train")
    assert only.id == "alpaca/train/alpaca_data-1"
    assert [r.reason for r in rejects] == ["row lacks 'output'", "row lacks 'output'"]


def test_llava_takes_several_images_in_one_turn(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "<image>\n<image>\nWhat changed?"},
        {"from": "gpt", "value": "The dog is gone."},
    ]
    record = {"id": "1", "image": ["pairs/1.png", "pairs/1_2.png"], "conversations": turns}
    (tmp_path / "llava").mkdir()
    (tmp_path / "llava" / "conversation_58k.json").write_text(json.dumps([record]))
    [sample] = load_source("llava_instruct").read(tmp_path, "llava", "train", seed=1)
    assert isinstance(sample, Sample)
    assert [image.path for image in sample.images] == ["pairs/1.png", "pairs/1_2.png"]
    assert sample.turns[0].images == (0, 1)
    assert sample.instruction == "What changed?"
