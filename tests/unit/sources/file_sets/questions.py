"""Questions about images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.sources.file_sets.form import Build, Case, Records, case_into
from tests.unit.sources.file_sets.pieces import NOBODY, Files, Record, Shared, csv_line

CASES: list[Case] = []
case = case_into(CASES)


def _vqa(prefix: str) -> Build:
    def build(files: Files, records: Records) -> None:
        questions = [{"question_id": r.number, "image_id": r.number, "question": r.texts[0]} for r in records]
        annotations = [
            {
                "question_id": r.number,
                "image_id": r.number,
                "multiple_choice_answer": r.texts[1],
                "answers": [{"answer": r.texts[1], "answer_confidence": "yes", "answer_id": 1}],
            }
            for r in records
        ]
        files.under(f"set/{prefix}OpenEnded_mscoco_train2014_questions.json", info=Shared({}), questions=questions)
        files.under(f"set/{prefix}mscoco_train2014_annotations.json", info=Shared({}), annotations=annotations)

    return build


case("vqav2", "train")(_vqa("v2_"))
case("okvqa", "train")(_vqa(""))


@case("aokvqa", "train")
def aokvqa(files: Files, records: Records) -> None:
    rows = [
        {
            "split": "train",
            "image_id": r.number,
            "question_id": f"{r.number:x}",
            "question": r.texts[0],
            "choices": ["one", "two", "three", "four"],
            "correct_choice_idx": 2,
            "direct_answers": [r.texts[1]],
            "rationales": [r.texts[2]],
        }
        for r in records
    ]
    files.listed("set/aokvqa_v1p0_train.json", rows)


@case("vqa_e", "train")
def vqa_e(files: Files, records: Records) -> None:
    rows = [
        {
            "img_id": r.number,
            "question": r.texts[0],
            "answers": [r.texts[1]] * 10,
            "multiple_choice_answer": r.texts[1],
            "explanation": [r.texts[2], 0.5],
        }
        for r in records
    ]
    files.listed("set/VQA-E_train_set.json", rows)


@case("vqa_x", "train")
def vqa_x(files: Files, records: Records) -> None:
    rows = {
        str(r.number): {
            "question": r.texts[0],
            "answers": [{"answer": r.texts[1], "answer_id": 1}],
            "image_name": f"COCO_train2014_{r.number:012d}.jpg",
            "explanation": [r.texts[2]],
        }
        for r in records
    }
    files.keyed("set/vqaX_train.json", rows.items())


@case("lxmert_vqa", "train")
def lxmert_vqa(files: Files, records: Records) -> None:
    rows = [
        {"sent": r.texts[0], "question_id": r.number, "label": {r.texts[1]: 0.667}, "img_id": f"n{r.number}"}
        for r in records
    ]
    files.listed("set/train.json", rows)


@case("daquar", "train", numbered=True)
def daquar(files: Files, records: Records) -> None:
    lines = [f"{r.lines[0]} in the image{r.number} ?\n{r.lines[1]}" for r in records]
    files.lines("set/qa.894.raw.train.txt", lines)


@case("esnlive", "train", own=False)
def esnlive(files: Files, records: Records) -> None:
    head = (NOBODY, csv_line("pairID", "Flickr30kID", "hypothesis", "gold_label", "explanation"))
    rows = [csv_line(f"{r.number}#1", f"{r.number}.jpg", r.lines[0], "neutral", r.lines[1]) for r in records]
    files.add("set/esnlive_train.csv", [head, *((frozenset({index}), row) for index, row in enumerate(rows))])


@case("scienceqa", "train")
def scienceqa(files: Files, records: Records) -> None:
    rows = {
        str(r.number): {
            "question": r.texts[0],
            "choices": ["left", "right"],
            "answer": 1,
            "hint": r.texts[1],
            "image": "image.png",
            "lecture": r.texts[2],
            "solution": "",
            "topic": "geography",
            "split": "train",
        }
        for r in records
    }
    files.keyed("set/problems.json", rows.items())
    files.under("set/pid_splits.json", train=[str(r.number) for r in records])


@case("clevr", "train")
def clevr(files: Files, records: Records) -> None:
    rows = [
        {"question_index": r.number, "image_filename": f"CLEVR_{r.number}.png", "question": r.texts[0], "answer": "yes"}
        for r in records
    ]
    files.under("set/questions/CLEVR_train_questions.json", info=Shared({}), questions=rows)


@case("gqa", "train_balanced", "official")
def gqa(files: Files, records: Records) -> None:
    rows = {
        str(r.number): {
            "imageId": str(r.number),
            "question": r.texts[0],
            "answer": r.texts[1],
            "fullAnswer": r.texts[2],
            "types": {"structural": "query"},
        }
        for r in records
    }
    files.keyed("set/train_balanced_questions.json", rows.items())


@case("gqa", "train_balanced", "list")
def gqa_list(files: Files, records: Records) -> None:
    rows = [
        {"image": f"{r.number}.jpg", "question": r.texts[0], "answer": r.texts[1], "question_id": r.number}
        for r in records
    ]
    files.listed("set/train_balanced_questions.json", rows)


@case("textvqa", "train")
def textvqa(files: Files, records: Records) -> None:
    rows = [
        {"question_id": r.number, "image_id": f"{r.number:x}", "question": r.texts[0], "answers": [r.texts[1]] * 10}
        for r in records
    ]
    files.under("set/TextVQA_0.5.1_train.json", data=rows)


@case("ocrvqa", "train", per_record=2)
def ocrvqa(files: Files, records: Records) -> None:
    rows = {
        str(r.number): {
            "imageURL": f"http://example.org/{r.number}.jpg",
            "questions": [r.texts[0], "Who wrote this?"],
            "answers": [r.texts[1], r.texts[2]],
            "split": 1,
        }
        for r in records
    }
    files.keyed("set/dataset.json", rows.items())


def _pointqa(files: Files, records: Records, name: str, split: str, make: Callable[[Record], Any], image: str) -> None:
    for r in records:
        files.image(image.format(r.number))
    files.keyed(f"set/Datasets/{name}", ((str(r.number), [make(r)]) for r in records))
    files.listed(f"set/Datasets/{split}", [str(r.number) for r in records])


GENOME = "visual_genome/VG_100K/{}.jpg"


@case("pointqa", "local_train", "local", per_record=2)
def pointqa_local(files: Files, records: Records) -> None:
    def row(r: Record) -> Any:
        points = [{"x": 5, "y": 7, "ans": r.texts[1]}, {"x": 20.5, "y": 8, "ans": r.texts[2]}]
        return {"id": r.number, "question": r.texts[0], "points": points}

    _pointqa(files, records, "LocalQA/localqa_dataset.json", "LocalQA/localqa_train_imgs.json", row, GENOME)


@case("pointqa", "looktwice_train", "looktwice")
def pointqa_looktwice(files: Files, records: Records) -> None:
    def row(r: Record) -> Any:
        return {"id": r.number, "super_question": r.texts[0], "ans": "2", "point": {"x": 5, "y": 7}}

    name, split = "LookTwiceQA/looktwiceqa_dataset.json", "LookTwiceQA/looktwiceqa_train_imgs.json"
    _pointqa(files, records, name, split, row, GENOME)


@case("pointqa", "intent_train", "intent")
def pointqa_intent(files: Files, records: Records) -> None:
    def row(r: Record) -> Any:
        return {"question": r.texts[0], "ans": r.texts[1], "point": {"x": 5, "y": 7}}

    name, split = "IntentQA/intentqa_vqa.json", "IntentQA/intentqa_train_imgs.json"
    _pointqa(files, records, name, split, row, "voc2010/JPEGImages/{}.jpg")


@case("pointqa", "verbal_train", "verbal")
def pointqa_verbal(files: Files, records: Records) -> None:
    def row(r: Record) -> Any:
        return {"id": r.number, "question": r.texts[0], "answer": r.texts[1]}

    name, split = "VerbalSpatial/verbal_dataset.json", "VerbalSpatial/train_imgs_vs.json"
    _pointqa(files, records, name, split, row, GENOME)
