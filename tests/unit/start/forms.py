"""Folders of a few records in the forms that people's data has, as `init` gets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

ASKED = ("How many boxes are there?", "What colour are the boxes?", "Is this a picture of a dog?")
ANSWERED = ("2", "red", "no")


def photograph(path: Path, boxes: int = 2) -> Path:
    """A picture of red boxes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.new("RGB", (64, 64), "white") as image:
        for box in range(boxes):
            ImageDraw.Draw(image).rectangle((4 + 14 * box, 20, 14 + 14 * box, 40), fill="red")
        image.save(path)
    return path


def _json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _said(*pairs: tuple[str, str], images: int = 1) -> list[dict[str, str]]:
    turns = [{"from": who, "value": text} for pair in pairs for who, text in zip(("human", "gpt"), pair, strict=True)]
    turns[0]["value"] = "<image>\n" * images + turns[0]["value"]
    return turns


def llava(folder: Path) -> None:
    """One image and a dialogue of two questions, two images, no image."""
    for name in ("1", "2"):
        photograph(folder / "images" / f"{name}.png")
    talk = _said((ASKED[0], "2"), ("And what colour are they?", "red"))
    pair = _said(("Which picture shows more boxes?", "both the same"), images=2)
    records = [
        {"id": "a", "image": "images/1.png", "conversations": talk},
        {"id": "b", "image": ["images/1.png", "images/2.png"], "conversations": pair},
        {"id": "c", "conversations": _said(("What are 2 and 2?", "4"), images=0)},
    ]
    _json(folder / "mine.json", records)


def coco(folder: Path) -> None:
    """Two photographs, each with two captions and two boxes."""
    images = [{"id": n, "file_name": f"{n:012d}.jpg", "width": 64, "height": 64} for n in (1, 2)]
    for image in images:
        photograph(folder / "val2017" / image["file_name"])  # type: ignore[operator]
    texts = [(n, text) for n in (1, 2) for text in ("Two red boxes side by side.", "A pair of boxes on white.")]
    captions = [{"id": i, "image_id": n, "caption": text} for i, (n, text) in enumerate(texts)]
    boxes = [(n, x) for n in (1, 2) for x in (4, 18)]
    instances = [
        {"id": i, "image_id": n, "category_id": 1, "bbox": [x, 20, 10, 20], "iscrowd": 0, "area": 200}
        for i, (n, x) in enumerate(boxes)
    ]
    categories = [{"id": 1, "name": "box", "supercategory": "thing"}]
    _json(folder / "annotations" / "captions_val2017.json", {"images": images, "annotations": captions})
    _json(
        folder / "annotations" / "instances_val2017.json",
        {"images": images, "annotations": instances, "categories": categories},
    )


def vqav2(folder: Path) -> None:
    """Three questions about one photograph, ten answers each."""
    photograph(folder / "val2014" / "COCO_val2014_000000000001.jpg")
    rows = list(enumerate(zip(ASKED, ANSWERED, strict=True)))
    asked = [{"question_id": i, "image_id": 1, "question": question} for i, (question, _) in rows]
    answered = [
        {
            "question_id": i,
            "image_id": 1,
            "multiple_choice_answer": answer,
            "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)],
        }
        for i, (_, answer) in rows
    ]
    _json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
    _json(folder / "v2_mscoco_val2014_annotations.json", {"annotations": answered})


def _dataset(folder: Path) -> Any:
    import datasets

    picture = photograph(folder.parent / "elsewhere.png").read_bytes()
    columns = {
        "image": [{"bytes": picture, "path": "elsewhere.png"}] * 3,
        "question": list(ASKED),
        "answer": list(ANSWERED),
    }
    (folder.parent / "elsewhere.png").unlink()
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


def saved(folder: Path) -> None:
    """What `save_to_disk` writes of two splits."""
    import datasets

    rows = _dataset(folder)
    datasets.DatasetDict({"train": rows.select([0, 1]), "test": rows.select([2])}).save_to_disk(str(folder))


def parquet(folder: Path) -> None:
    """What lies in a repository of the Hugging Face hub: Parquet with embedded images, two splits."""
    rows = _dataset(folder)
    (folder / "data").mkdir(parents=True)
    rows.select([0, 1]).to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    rows.select([2]).to_parquet(str(folder / "data" / "test-00000-of-00001.parquet"))


def flickr8k(folder: Path) -> None:
    """Two photographs with two captions each, in the official token file."""
    for name in ("1", "2"):
        photograph(folder / "Flicker8k_Dataset" / f"{name}.jpg")
    lines = [
        f"{n}.jpg#{i}\t{text}"
        for n in (1, 2)
        for i, text in enumerate(("Two red boxes side by side.", "Boxes on white ."))
    ]
    (folder / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


ANSWERS = [("vqa", answer) for answer in ANSWERED]
CAPTIONS = [("caption", "Two red boxes side by side.")] * 2
FORMS: dict[str, tuple[Callable[[Path], None], list[tuple[str, str]]]] = {  # with task and raw answer of each record
    "llava": (llava, [("vqa", "2"), ("vqa", "red"), ("vqa", "both the same"), ("text", "4")]),
    "coco": (coco, CAPTIONS),
    "vqav2": (vqav2, ANSWERS),
    "saved": (saved, ANSWERS),
    "parquet": (parquet, [*ANSWERS[2:], *ANSWERS[:2]]),
    "flickr8k": (flickr8k, CAPTIONS),
}
