"""Classes of images, and objects in them."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.sources.file_sets.form import Build, Case, Records, case_into
from tests.unit.sources.file_sets.pieces import Files, Record, Shared

CASES: list[Case] = []
case = case_into(CASES)


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
