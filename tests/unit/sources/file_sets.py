"""Small valid file sets of every reader, written in pieces of which each knows the record it belongs to.

A test can so damage the bytes of one record and tell which other records it has left alone.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

Owners = frozenset[int]
NOBODY: Owners = frozenset()  # brackets, headers, lists of classes: they belong to the file as a whole


@dataclass(frozen=True)
class Record:
    """What one record is made of.

    Args:
        index: 0, 1 …
        texts: Three texts; each begins with a word of its own and is never blank.
    """

    index: int
    texts: tuple[str, str, str]

    @property
    def number(self) -> int:
        """An id no other record's id turns into by a change of a few bytes: 111111, 222222 …"""
        return 111_111 * (self.index + 1)

    @property
    def lines(self) -> tuple[str, ...]:
        """The texts, each on one line, for formats of lines."""
        return tuple(" ".join(text.split()) for text in self.texts)


@dataclass
class Files:
    """Files under construction: path -> pieces (owners, bytes)."""

    root: Path
    pieces: dict[str, list[tuple[Owners, bytes]]] = field(default_factory=dict)

    def add(self, name: str, content: bytes | str | Iterable[tuple[Owners, bytes]], owner: int | None = None) -> None:
        """A file that belongs to one record, to nobody, or is given in pieces."""
        if isinstance(content, bytes | str):
            data = content.encode() if isinstance(content, str) else content
            self.pieces[name] = [(NOBODY if owner is None else frozenset({owner}), data)]
        else:
            self.pieces[name] = list(content)

    def image(self, name: str, size: tuple[int, int] = (64, 48)) -> None:
        """A picture; it is not damaged."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", size, "gray").save(file)

    def listed(self, name: str, rows: Sequence[Any], **options: Any) -> None:
        """A JSON list, row i of record i."""
        self.add(name, _list(enumerate(rows), **options))

    def keyed(self, name: str, rows: Iterable[tuple[str, Any]]) -> None:
        """A JSON object, entry i of record i."""
        self.add(name, _object(rows))

    def under(self, name: str, **lists: Any) -> None:
        """A JSON object of lists whose row i is of record i; what is no list, or a `Shared`, is of nobody."""
        pieces: list[tuple[Owners, bytes]] = [(NOBODY, b"{")]
        for place, (key, rows) in enumerate(lists.items()):
            pieces.append((NOBODY, (", " if place else "").encode() + f"{json.dumps(key)}: ".encode()))
            if isinstance(rows, dict):
                pieces += _object(rows.items())
            elif isinstance(rows, list):
                pieces += _list(enumerate(rows))
            else:
                pieces.append((NOBODY, json.dumps(rows.value).encode()))
        self.add(name, [*pieces, (NOBODY, b"}")])

    def lines(self, name: str, rows: Sequence[str | dict[str, Any]], head: str = "") -> None:
        """A file of lines, JSON Lines where rows are objects; line i of record i, line ends of both neighbours."""
        pieces: list[tuple[Owners, bytes]] = [(NOBODY, head.encode())] if head else []
        for index, row in enumerate(rows):
            text = row if isinstance(row, str) else json.dumps(row)
            pieces += [(frozenset({index}), text.encode()), (frozenset({index, index + 1}), b"\n")]
        self.add(name, pieces)

    def write(self) -> None:
        """Write all files."""
        for name, pieces in self.pieces.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"".join(data for _, data in pieces))


@dataclass(frozen=True)
class Shared:
    """A JSON value that belongs to no record."""

    value: Any


def _list(rows: Iterable[tuple[int, Any]]) -> list[tuple[Owners, bytes]]:
    pieces: list[tuple[Owners, bytes]] = [(NOBODY, b"[")]
    for index, row in rows:
        pieces += [(NOBODY, b", ")] if index else []
        pieces.append((frozenset({index}), json.dumps(row).encode()))
    return [*pieces, (NOBODY, b"]")]


def _object(rows: Iterable[tuple[str, Any]]) -> list[tuple[Owners, bytes]]:
    pieces: list[tuple[Owners, bytes]] = [(NOBODY, b"{")]
    for index, (key, row) in enumerate(rows):
        pieces += [(NOBODY, b", ")] if index else []
        pieces.append((frozenset({index}), f"{json.dumps(key)}: {json.dumps(row)}".encode()))
    return [*pieces, (NOBODY, b"}")]


def _csv_line(*fields: str) -> bytes:
    """A row of a quoted table; such files hold no NUL."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([field.replace("\0", "") for field in fields])
    return buffer.getvalue().encode()


Records = Sequence[Record]
Build = Callable[[Files, Records], None]


@dataclass(frozen=True)
class Case:
    """A form that a reader reads.

    Args:
        source: Name in the catalogue.
        split: Split to read.
        build: Writes the files into the folder ``set`` and its siblings.
        label: Tells forms of one reader apart.
        per_record: Samples of one record.
        own: Whether damage to one record must leave the others alone; not so in binary files and quoted tables, where
            one byte can shift all that follows.
        columns: Records share the bytes of their columns (Parquet): damage can turn any of them into one that is passed
            over on purpose (another language), so that only crashes count.
        numbered: Records are named by their line, so that a line end more or less renames all that follow.
    """

    source: str
    split: str
    build: Build
    label: str = ""
    per_record: int = 1
    own: bool = True
    columns: bool = False
    numbered: bool = False

    def __str__(self) -> str:
        return f"{self.source}-{self.label}" if self.label else self.source


CASES: list[Case] = []


def case(source: str, split: str, label: str = "", **options: Any) -> Callable[[Build], Build]:
    """Register a builder; several times for readers that share a form."""

    def register(build: Build) -> Build:
        CASES.append(Case(source, split, build, label, **options))
        return build

    return register


# Captioning


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


def _karpathy(records: Records) -> list[dict[str, Any]]:
    return [
        {"filename": f"{r.number}.png", "imgid": r.index, "sentences": [{"raw": t} for t in r.texts], "split": "train"}
        for r in records
    ]


@case("flickr30k", "train", "karpathy")
def flickr30k_karpathy(files: Files, records: Records) -> None:
    files.under("set/dataset_flickr30k.json", images=_karpathy(records), dataset=Shared("flickr30k"))


@case("rsicd", "train")
def rsicd(files: Files, records: Records) -> None:
    files.under("set/dataset_rsicd.json", images=_karpathy(records))


@case("rsitmd", "train")
def rsitmd(files: Files, records: Records) -> None:
    files.under("set/dataset_RSITMD.json", images=_karpathy(records))


@case("ucm", "train")
def ucm(files: Files, records: Records) -> None:
    files.under("set/dataset.json", images=_karpathy(records))


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


# Classification and detection


def _elevater(files: Files, dataset: str, split: str, **more: Any) -> str:
    entry = {"name": dataset, "root_folder": "classification/x", split: {"index_path": "index.txt"}, **more}
    files.add("set/vision_datasets.json", json.dumps([entry]))
    return "set/classification/x"


def _knowledge(files: Files, dataset: str) -> None:
    wiki = [{"classname": name, "def_wiki": f"A {name}.", "path_wn": ["thing"], "def_wn": name} for name in CLASSES]
    files.add(f"set/knowledge/external/{dataset}_knowledge.tsv", json.dumps(wiki))
    gpt3 = [{"classname": name, "gpt3": [f"The {name}."]} for name in CLASSES]
    files.add(f"set/knowledge/gpt3/GPT3_{dataset}.tsv", json.dumps(gpt3))


CLASSES = ("banded", "dotted", "knitted", "woven")
ELEVATER = {
    "elevater_caltech_101": "caltech-101",
    "elevater_cifar_10": "cifar-10",
    "elevater_cifar_100": "cifar-100",
    "elevater_dtd": "dtd",
    "elevater_eurosat": "eurosat_clip",
    "elevater_fer_2013": "fer-2013",
    "elevater_fgvc_aircraft": "fgvc-aircraft-2013b-variants102",
    "elevater_food_101": "food-101",
    "elevater_gtsrb": "gtsrb",
    "elevater_mnist": "mnist",
    "elevater_oxford_flowers": "oxford-flower-102",
    "elevater_oxford_pets": "oxford-iiit-pets",
    "elevater_resisc45": "resisc45_clip",
    "elevater_stanford_cars": "stanford-cars",
    "elevater_voc_2007": "voc-2007-classification",
}


def _elevater_lines(dataset: str) -> Build:
    def build(files: Files, records: Records) -> None:
        place = _elevater(files, dataset, "train", labelmap="labels.txt")
        files.add(f"{place}/labels.txt", "".join(f"{name}\n" for name in CLASSES))
        files.lines(f"{place}/index.txt", [f"train.zip@{r.number}.jpg {r.index}" for r in records])
        _knowledge(files, dataset)

    return build


for _name, _dataset in ELEVATER.items():
    case(_name, "train")(_elevater_lines(_dataset))


@case("elevater_dtd", "test", "coco")
def elevater_coco(files: Files, records: Records) -> None:
    place = _elevater(files, "dtd", "test", format="coco")
    categories = Shared([{"id": number, "name": name} for number, name in enumerate(CLASSES)])
    images = [{"id": r.number, "file_name": f"{r.number}.jpg", "zip_file": "test.zip"} for r in records]
    labels = [{"image_id": r.number, "category_id": r.index} for r in records]
    files.under(f"{place}/index.txt", images=images, annotations=labels, categories=categories)


def _voc(r: Record) -> str:
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    size = "<size><width>100</width><height>50</height><depth>3</depth></size>"
    return f"<annotation><filename>{r.number}.jpg</filename>{size}<object><name>ship</name>{box}</object></annotation>"


@case("dior", "train")
def dior(files: Files, records: Records) -> None:
    files.lines("set/ImageSets/Main/train.txt", [str(r.number) for r in records])
    for r in records:
        files.add(f"set/Annotations/Horizontal Bounding Boxes/{r.number}.xml", _voc(r), r.index)


@case("hrrsd", "train")
def hrrsd(files: Files, records: Records) -> None:
    files.lines("set/OPT2017/ImageSets/Main/train.txt", [str(r.number) for r in records])
    for r in records:
        files.add(f"set/OPT2017/Annotations/{r.number}.xml", _voc(r), r.index)


@case("dota", "train")
def dota(files: Files, records: Records) -> None:
    for r in records:
        files.image(f"set/train/images/P{r.number}.png")
        label = "imagesource:GoogleEarth\ngsd:0.1\n1.0 2.0 30.0 2.0 30.0 40.0 1.0 40.0 small-vehicle 0\n"
        files.add(f"set/train/labelTxt-v1.0/P{r.number}.txt", label, r.index)


# Change captioning


@case("spot_the_diff", "train")
def spot_the_diff(files: Files, records: Records) -> None:
    rows = [{"img_id": str(r.number), "sentences": list(r.texts)} for r in records]
    files.listed("set/annotations/train.json", rows)


@case("image_editing_request", "train")
def image_editing_request(files: Files, records: Records) -> None:
    rows = [
        {"uid": str(r.number), "img0": f"{r.number}_0.jpg", "img1": f"{r.number}_1.jpg", "sents": [r.texts[0]]}
        for r in records
    ]
    files.listed("set/dataset/adobe/train.json", rows)


@case("levir_cc", "train")
def levir_cc(files: Files, records: Records) -> None:
    files.under("set/LevirCCcaptions.json", images=[{**row, "changeflag": 1} for row in _karpathy(records)])


# Visual question answering


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
    head = (NOBODY, _csv_line("pairID", "Flickr30kID", "hypothesis", "gold_label", "explanation"))
    rows = [_csv_line(f"{r.number}#1", f"{r.number}.jpg", r.lines[0], "neutral", r.lines[1]) for r in records]
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


# Instructions


def _said(r: Record) -> list[dict[str, str]]:
    return [{"from": "human", "value": f"<image>\n{r.texts[0]}"}, {"from": "gpt", "value": r.texts[1]}]


@case("llava_instruct", "train")
def llava_instruct(files: Files, records: Records) -> None:
    rows = [{"id": str(r.number), "image": f"{r.number:012d}.jpg", "conversations": _said(r)} for r in records]
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
    _parquet(files, "set/data/train-00000-of-00001.parquet", rows)


def _parquet(files: Files, name: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    files.add(name, buffer.getvalue())


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


# Evaluation


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


# Your own data


@case("llava_json", "all")
def llava_json(files: Files, records: Records) -> None:
    rows = [{"id": str(r.number), "image": f"{r.number}.jpg", "conversations": _said(r)} for r in records]
    files.listed("set/mine.json", rows)


@case("sharegpt_json", "all")
def sharegpt_json(files: Files, records: Records) -> None:
    rows = [{"id": str(r.number), "images": [f"{r.number}.jpg"], "conversations": _said(r)} for r in records]
    files.listed("set/mine.json", rows)


def _messages(r: Record) -> dict[str, Any]:
    asked = [{"type": "image", "index": 0}, {"type": "text", "text": r.texts[0]}]
    said = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": [{"type": "text", "text": r.texts[1]}]},
    ]
    return {"id": str(r.number), "messages": said, "images": [f"{r.number}.jpg"]}


@case("messages_json", "all", "lines")
def messages_lines(files: Files, records: Records) -> None:
    files.lines("set/mine.jsonl", [_messages(r) for r in records])


@case("messages_json", "all", "parquet", columns=True)
def messages_parquet(files: Files, records: Records) -> None:
    buffer = io.BytesIO()
    PILImage.new("RGB", (4, 4)).save(buffer, "PNG")
    rows = [{**_messages(r), "images": [{"bytes": buffer.getvalue(), "path": None}]} for r in records]
    _parquet(files, "set/mine.parquet", rows)


@case("pf1m_json", "all")
def pf1m_json(files: Files, records: Records) -> None:
    rows = [
        {
            "input": f"<img_path>coco/{r.number}.jpg<img_path>{r.texts[0]}",
            "output": r.texts[1],
            "original": r.texts[2],
            "rouge_score": 0.5,
            "nli_similarity": [0.1, 0.2, 0.7],
        }
        for r in records
    ]
    files.listed("set/PF_vqa.json", rows)


@case("datajuicer_jsonl", "all")
def datajuicer_jsonl(files: Files, records: Records) -> None:
    rows = [
        {
            "id": str(r.number),
            "text": f"[[human]]: <__dj__image>\n{r.texts[0]}\n[[gpt]]: {r.texts[1]} <|__dj__eoc|>",
            "images": [f"{r.number}.jpg"],
        }
        for r in records
    ]
    files.lines("set/mine.jsonl", rows)


@case("webdataset", "all", own=False)
def webdataset(files: Files, records: Records) -> None:
    picture = io.BytesIO()
    PILImage.new("RGB", (4, 4)).save(picture, "PNG")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for r in records:
            for ending, data in (("png", picture.getvalue()), ("txt", r.texts[0].encode())):
                member = tarfile.TarInfo(f"{r.number}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    files.add("set/000000.tar", buffer.getvalue())


MAPPING = "task: vqa\nlicence: none\nquestion: q\nanswer: a\nimage: picture\nid: key\nfile: "


def _row(r: Record) -> dict[str, Any]:
    return {"key": str(r.number), "q": r.texts[0], "a": r.texts[1], "picture": f"{r.number}.jpg"}


@case("table", "all", "lines")
def table_lines(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.jsonl\n")
    files.lines("set/mine.jsonl", [_row(r) for r in records])


@case("table", "all", "list")
def table_list(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.json\n")
    files.listed("set/mine.json", [_row(r) for r in records])


@case("table", "all", "csv", own=False)
def table_csv(files: Files, records: Records) -> None:
    rows = [_csv_line(str(r.number), r.lines[0], r.texts[1], f"{r.number}.jpg") for r in records]
    files.add("set/mapping.yaml", f"{MAPPING}mine.csv\n")
    head = (NOBODY, _csv_line("key", "q", "a", "picture"))
    files.add("set/mine.csv", [head, *((frozenset({index}), row) for index, row in enumerate(rows))])


@case("table", "all", "tsv")
def table_tsv(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.tsv\nquotes: false\n")
    rows = ["\t".join((str(r.number), r.lines[0], r.lines[1], f"{r.number}.jpg")) for r in records]
    files.lines("set/mine.tsv", rows, head="key\tq\ta\tpicture\n")


@case("table", "all", "parquet", columns=True)
def table_parquet(files: Files, records: Records) -> None:
    files.add("set/mapping.yaml", f"{MAPPING}mine.parquet\n")
    _parquet(files, "set/mine.parquet", [_row(r) for r in records])
