"""Sets that are for evaluation alone."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.sources.file_sets.form import Build, Case, Records, case_into
from tests.unit.sources.file_sets.pieces import Files

CASES: list[Case] = []
case = case_into(CASES)


@case("vsr", "dev", numbered=True)
def vsr(files: Files, records: Records) -> None:
    rows = [
        {"image": f"{r.number:012d}.jpg", "caption": r.texts[0], "label": r.index % 2, "relation": "under"}
        for r in records
    ]
    files.lines("set/dev.jsonl", rows)


@case("grid3d", "train")
def grid3d(files: Files, records: Records) -> None:
    rows = [{"img_idx": r.number, "question": [r.texts[0], "?"], "answer": "yes", "task": "t"} for r in records]
    files.listed("set/questions.json", rows)
    files.listed("set/train_idxs.json", [r.index for r in records])


@case("nlvr", "dev")
def nlvr(files: Files, records: Records) -> None:
    rows = [{"identifier": f"{r.number}-0", "sentence": r.texts[0], "label": "true", "directory": "3"} for r in records]
    files.lines("set/dev/dev.json", rows)


@case("nlvr2", "dev")
def nlvr2(files: Files, records: Records) -> None:
    rows = [{"identifier": f"dev-{r.number}-0-1", "sentence": r.texts[0], "label": "False"} for r in records]
    files.lines("set/data/dev.json", rows)


def _iconqa(kind: str, choices: list[str] | None, answer: Any) -> Build:
    def build(files: Files, records: Records) -> None:
        for r in records:
            row = {"question": r.texts[0], "answer": answer if choices else r.texts[1]}
            row |= {"choices": choices} if choices else {}
            files.add(f"set/iconqa/test/{kind}/{r.number}/data.json", json.dumps(row), r.index)

    return build


case("iconqa", "test", "choose_txt")(_iconqa("choose_txt", ["one", "two"], 1))
case("iconqa", "test", "choose_img")(_iconqa("choose_img", ["choice_0.png", "choice_1.png"], 0))
case("iconqa", "test", "fill_in_blank")(_iconqa("fill_in_blank", None, None))


@case("chartqa", "test")
def chartqa(files: Files, records: Records) -> None:
    rows = [{"imgname": f"{r.number}.png", "query": r.texts[0], "label": r.texts[1]} for r in records]
    files.listed("set/test/test_human.json", rows)


@case("ai2d", "train")
def ai2d(files: Files, records: Records) -> None:
    files.add("set/ai2d/ai2d_test_ids.csv", "7\n")
    for r in records:
        files.image(f"set/ai2d/images/{r.number}.png")
        question = {"questionId": f"{r.number}.png-0", "answerTexts": ["a", "b", "c", "d"], "correctAnswer": 1}
        row = {"imageName": f"{r.number}.png", "questions": {r.texts[0]: {**question, "abcLabel": True}}}
        files.add(f"set/ai2d/questions/{r.number}.png.json", json.dumps(row), r.index)
        labels = {"text": {"T0": {"replacementText": "A", "rectangle": [[1, 2], [30, 20]]}}}
        files.add(f"set/ai2d/annotations/{r.number}.png.json", json.dumps(labels), r.index)


@case("pope", "random")
def pope(files: Files, records: Records) -> None:
    rows = [
        {"question_id": r.number, "image": f"COCO_val2014_{r.number:012d}.jpg", "text": r.texts[0], "label": "yes"}
        for r in records
    ]
    files.lines("set/coco_pope_random.json", rows)


@case("gvt", "coco_oc", "coco")
def gvt(files: Files, records: Records) -> None:
    files.listed("set/coco_oc.json", [{"image_id": r.number, "text_in": r.texts[0], "text_out": "2"} for r in records])


@case("gvt", "vcr_mci", "vcr")
def gvt_vcr(files: Files, records: Records) -> None:
    rows = [{"image_id": f"lsmdc/{r.number}.jpg", "text_in": r.texts[0], "text_out": "Yes."} for r in records]
    files.listed("set/vcr_mci.json", rows)
