"""Instructions and dialogues."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image as PILImage
from tests.unit.sources.file_sets.form import Build, Case, Records, case_into
from tests.unit.sources.file_sets.pieces import Files, Owners, Record, parquet

CASES: list[Case] = []
case = case_into(CASES)


def said(r: Record) -> list[dict[str, str]]:
    return [{"from": "human", "value": f"<image>\n{r.texts[0]}"}, {"from": "gpt", "value": r.texts[1]}]


@case("llava_instruct", "train")
def llava_instruct(files: Files, records: Records) -> None:
    rows = [{"id": str(r.number), "image": f"{r.number:012d}.jpg", "conversations": said(r)} for r in records]
    files.listed("set/conversation_58k.json", rows)


@case("llava_eval", "val", "generated")
def llava_eval(files: Files, records: Records) -> None:
    rows = [
        {
            "image": f"COCO_val2014_{r.number:012d}.jpg",
            "instruction": r.texts[0],
            "output": r.texts[1],
            "type": "detail",
        }
        for r in records
    ]
    files.lines("set/coco2014_val_gpt4_qa_30x3.jsonl", rows)
    context = [
        {
            "image": f"COCO_val2014_{r.number:012d}.jpg",
            "captions": [r.texts[2]],
            "instances": [{"category": "cat", "bbox": [0.1, 0.2, 0.3, 0.4]}],
        }
        for r in records
    ]
    files.lines("set/caps_boxes_coco2014_val_80.jsonl", context)


@case("llava_eval", "val", "qa90")
def llava_eval_qa90(files: Files, records: Records) -> None:
    questions = [
        {"question_id": r.number, "image": f"{r.number:012d}.jpg", "text": r.texts[0], "category": "conv"}
        for r in records
    ]
    files.lines("set/qa90_questions.jsonl", questions)
    files.lines("set/qa90_gpt4_answer.jsonl", [{"question_id": r.number, "text": r.texts[1]} for r in records])


@case("ultrachat", "train")
def ultrachat(files: Files, records: Records) -> None:
    files.lines("set/ultrachat_release_1.json", [{"id": str(r.number), "data": list(r.texts[:2])} for r in records])


@case("sharegpt", "train")
def sharegpt(files: Files, records: Records) -> None:
    rows = [
        {
            "id": f"{r.number:x}_0",
            "conversations": [{"from": "human", "value": r.texts[0]}, {"from": "gpt", "value": r.texts[1]}],
        }
        for r in records
    ]
    files.listed("set/sg_90k_part1.json", rows)


def _message(r: Record, role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"message_id": f"{role}{r.number}", "role": role, "text": text, "lang": "en", **more}


@case("oasst", "train", "trees")
def oasst_trees(files: Files, records: Records) -> None:
    rows = [
        {
            "message_tree_id": f"tree{r.number}",
            "tree_state": "ready_for_export",
            "prompt": _message(r, "prompter", r.texts[0], replies=[_message(r, "assistant", r.texts[1], replies=[])]),
        }
        for r in records
    ]
    files.lines("set/2023-04-12_oasst_ready.trees.jsonl", rows)


@case("oasst", "train", "messages")
def oasst_messages(files: Files, records: Records) -> None:
    pieces: list[tuple[Owners, bytes]] = []
    for r in records:
        prompt = _message(r, "prompter", r.texts[0], parent_id=None, tree_state="ready_for_export")
        answer = _message(r, "assistant", r.texts[1], parent_id=f"prompter{r.number}", rank=0)
        text = f"{json.dumps(prompt)}\n{json.dumps(answer)}".encode()
        pieces += [(frozenset({r.index}), text), (frozenset({r.index, r.index + 1}), b"\n")]
    files.add("set/2023-04-12_oasst_ready.messages.jsonl", pieces)


@case("oasst", "train", "parquet", columns=True)
def oasst_parquet(files: Files, records: Records) -> None:
    rows = []
    for r in records:
        rows.append(_message(r, "prompter", r.texts[0], parent_id=None, rank=None, tree_state="ready_for_export"))
        rows.append(_message(r, "assistant", r.texts[1], parent_id=f"prompter{r.number}", rank=0, tree_state=None))
    parquet(files, "set/data/train-00000-of-00001.parquet", rows)


def _alpaca(name: str, key: str = "output") -> Build:
    def build(files: Files, records: Records) -> None:
        rows = [{"instruction": r.texts[0], "input": r.texts[2], key: r.texts[1]} for r in records]
        files.listed(f"set/{name}", rows)

    return build


case("alpaca", "train")(_alpaca("alpaca_data.json"))
case("alpaca_gpt4", "train")(_alpaca("alpaca_gpt4_data.json"))
case("gpteacher", "train")(_alpaca("codegen-instruct.json", "response"))
case("instructionwild", "en")(_alpaca("instinwild_en.json"))


@case("m3it", "train", numbered=True)
def m3it(files: Files, records: Records) -> None:
    picture = io.BytesIO()
    PILImage.new("RGB", (4, 4)).save(picture, "PNG")
    images = [base64.b64encode(picture.getvalue()).decode()]
    rows = [
        {"instruction": r.texts[0], "inputs": r.texts[2], "image_base64_str": images, "outputs": r.texts[1]}
        for r in records
    ]
    files.lines("set/data/vqa/mine/train.jsonl", rows)


@case("alpaca_seed_tasks", "train")
def alpaca_seed_tasks(files: Files, records: Records) -> None:
    rows = [
        {
            "id": f"seed_task_{r.number}",
            "instruction": r.texts[0],
            "instances": [{"input": "", "output": r.texts[1]}],
        }
        for r in records
    ]
    files.lines("set/seed_tasks.jsonl", rows)


@case("vquanda", "train")
def vquanda(files: Files, records: Records) -> None:
    rows = [{"uid": str(r.number), "question": r.texts[0], "verbalized_answer": r.texts[1]} for r in records]
    files.listed("set/train.json", rows)


@case("paraqa", "all")
def paraqa(files: Files, records: Records) -> None:
    sentences = ("verbalized_answer", "verbalized_answer_2", "verbalized_answer_3")
    rows = [
        {"uid": str(r.number), "question": r.texts[0], **dict(zip(sentences, r.texts, strict=True))} for r in records
    ]
    files.listed("set/paraqa.json", rows)
