"""Captions: of whole images, and of regions."""

from __future__ import annotations

import pickle
from typing import Any

from tests.unit.sources.file_sets.form import Case, Records, case_into
from tests.unit.sources.file_sets.pieces import Files, Record, Shared

CASES: list[Case] = []
case = case_into(CASES)


@case("coco", "train2014")
def coco(files: Files, records: Records, folder: str = "set") -> None:
    images = [
        {"id": r.number, "file_name": f"COCO_train2014_{r.number:012d}.jpg", "width": 100, "height": 50}
        for r in records
    ]
    captions = [{"id": r.number, "image_id": r.number, "caption": r.texts[0]} for r in records]
    boxes = [
        {"id": r.number, "image_id": r.number, "category_id": 17, "iscrowd": 0, "bbox": [1, 2, 30, 20.5]}
        for r in records
    ]
    files.under(f"{folder}/annotations/captions_train2014.json", images=images, annotations=captions)
    categories = Shared([{"id": 17, "name": "cat"}])
    files.under(f"{folder}/annotations/instances_train2014.json", annotations=boxes, categories=categories)


@case("flickr30k", "all", "token")
def flickr30k_token(files: Files, records: Records) -> None:
    files.lines("set/results_20130124.token", [f"{r.number}.jpg#0\t{r.lines[0]}" for r in records])


@case("flickr30k", "all", "csv")
def flickr30k_csv(files: Files, records: Records) -> None:
    lines = [f"{r.number}.jpg| 0| {r.lines[0]}" for r in records]
    files.lines("set/results.csv", lines, head="image_name| comment_number| comment\n")


@case("flickr8k", "train")
def flickr8k(files: Files, records: Records) -> None:
    files.lines("set/Flickr8k.token.txt", [f"{r.number}.jpg#0\t{r.lines[0]}" for r in records])
    files.lines("set/Flickr_8k.trainImages.txt", [f"{r.number}.jpg" for r in records])


def karpathy(records: Records) -> list[dict[str, Any]]:
    return [
        {"filename": f"{r.number}.png", "imgid": r.index, "sentences": [{"raw": t} for t in r.texts], "split": "train"}
        for r in records
    ]


@case("flickr30k", "train", "karpathy")
def flickr30k_karpathy(files: Files, records: Records) -> None:
    files.under("set/dataset_flickr30k.json", images=karpathy(records), dataset=Shared("flickr30k"))


@case("rsicd", "train")
def rsicd(files: Files, records: Records) -> None:
    files.under("set/dataset_rsicd.json", images=karpathy(records))


@case("rsitmd", "train")
def rsitmd(files: Files, records: Records) -> None:
    files.under("set/dataset_RSITMD.json", images=karpathy(records))


@case("ucm", "train")
def ucm(files: Files, records: Records) -> None:
    files.under("set/dataset.json", images=karpathy(records))


@case("textcaps", "train")
def textcaps(files: Files, records: Records) -> None:
    rows = [{"caption_str": r.texts[0], "reference_strs": list(r.texts), "image_id": f"{r.number:x}"} for r in records]
    files.under("set/TextCaps_0.1_train.json", dataset_type=Shared("train"), data=rows)


@case("image2paragraph", "train")
def image2paragraph(files: Files, records: Records) -> None:
    url = "https://cs.stanford.edu/people/rak248/VG_100K"
    rows = [{"url": f"{url}/{r.number}.jpg", "image_id": r.number, "paragraph": r.texts[0]} for r in records]
    files.listed("set/paragraphs_v1.json", rows)
    files.listed("set/train_split.json", [r.number for r in records])


@case("cc3m", "train", numbered=True)
def cc3m(files: Files, records: Records) -> None:
    lines = [f"{r.lines[0]}\thttps://example.org/{r.number}.jpg" for r in records]
    files.lines("set/Train_GCC-training.tsv", lines)


def _regions(files: Files, records: Records, folder: str = "coco") -> None:
    for r in records:
        files.image(f"{folder}/train2014/COCO_train2014_{r.number:012d}.jpg")


def _object_row(r: Record, **more: Any) -> dict[str, Any]:
    return {"annotation_id": r.number, "image_id": r.number, "refexp_ids": [r.number], **more}


def _expressions(records: Records) -> list[dict[str, Any]]:
    return [{"refexp_id": r.number, "raw": r.texts[0]} for r in records]


@case("refcocog", "google_train", "google")
def refcocog_google(files: Files, records: Records) -> None:
    _regions(files, records)
    rows = [_object_row(r) for r in records]
    files.under("set/google_refexp_train_201511.json", annotations=rows, refexps=_expressions(records))
    boxes = [{"id": r.number, "bbox": [1, 2, 20, 30]} for r in records]
    files.under("coco/annotations/instances_train2014.json", annotations=boxes)


@case("refcocog", "google_train", "aligned")
def refcocog_aligned(files: Files, records: Records) -> None:
    _regions(files, records)
    objects = {str(r.number): _object_row(r, bbox=[1, 2, 20, 30]) for r in records}
    expressions = {str(row["refexp_id"]): row for row in _expressions(records)}
    files.under("set/google_refexp_train_201511_coco_aligned.json", annotations=objects, refexps=expressions)


@case("refcocog", "umd_train", "umd", own=False)
def refcocog_umd(files: Files, records: Records) -> None:
    _regions(files, records)
    rows = [
        {
            "ref_id": r.number,
            "ann_id": r.number,
            "image_id": r.number,
            "split": "train",
            "sentences": [{"raw": r.texts[0]}],
        }
        for r in records
    ]
    files.add("set/refs(umd).p", pickle.dumps(rows, protocol=2))
    files.under("set/instances.json", annotations=[{"id": r.number, "bbox": [1, 2, 20, 30]} for r in records])


@case("refcoco", "refcoco_testA")
def refcoco(files: Files, records: Records) -> None:
    _regions(files, records)
    rows = [
        {"img_id": f"COCO_train2014_{r.number:012d}_1", "sents": r.texts[0], "bbox": [1, 2, 20, 30]} for r in records
    ]
    files.listed("set/refcoco_testA.json", rows)
