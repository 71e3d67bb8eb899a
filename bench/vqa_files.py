"""VQAv2's two official files with as many questions as wanted, written without holding them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

QUESTIONS_PER_IMAGE = 5
KINDS = {"what color": ("red", "blue", "white", "black"), "how many": ("1", "2", "3", "7"), "is the": ("yes", "no")}
THINGS = ("dog", "bus", "man in the background", "umbrella", "plate on the table", "train", "skateboard", "kite")
STRIDE = 7919  # prime: visits every row once, no two neighbours together


def write_vqa(folder: Path, rows: int, *, shuffled: bool = False) -> None:
    """Write questions and annotations of train2014 into `folder`.

    Args:
        folder: The dataset's folder.
        rows: Questions.
        shuffled: Annotations in quite another order than the questions; the official ones are in the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    head = {"info": {"description": "generated"}, "data_type": "mscoco", "data_subtype": "train2014", "license": {}}
    order = (row * STRIDE % rows for row in range(rows)) if shuffled else iter(range(rows))
    _write(folder / "v2_OpenEnded_mscoco_train2014_questions.json", head, "questions", map(_question, range(rows)))
    _write(folder / "v2_mscoco_train2014_annotations.json", head, "annotations", map(_annotation, order))


def _write(path: Path, head: dict[str, Any], key: str, items: Iterable[Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + f', "{key}": [')
        file.writelines(_separated(items))
        file.write("]}")


def _separated(items: Iterable[Any]) -> Iterator[str]:
    for number, item in enumerate(items):
        yield (", " if number else "") + json.dumps(item)


def _ids(row: int) -> dict[str, int]:
    image = row // QUESTIONS_PER_IMAGE + 1
    return {"image_id": image, "question_id": image * 1000 + row % QUESTIONS_PER_IMAGE}


def _question(row: int) -> dict[str, Any]:
    rng = random.Random(row)
    return {"question": f"{rng.choice(list(KINDS)).capitalize()} {rng.choice(THINGS)}?", **_ids(row)}


def _annotation(row: int) -> dict[str, Any]:
    rng = random.Random(row)
    kind = rng.choice(list(KINDS))
    answer = rng.choice(KINDS[kind])
    answers = [
        {
            "answer": answer if number < 7 else rng.choice(KINDS[kind]),
            "answer_confidence": "yes",
            "answer_id": number + 1,
        }
        for number in range(10)
    ]
    return {
        "question_type": kind,
        "multiple_choice_answer": answer,
        "answers": answers,
        "answer_type": "yes/no" if kind == "is the" else "other",
        **_ids(row),
    }
