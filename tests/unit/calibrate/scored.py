"""Labelled records with made-up scores."""

from dataclasses import replace
from random import Random

from polite_flamingo.calibrate.labels import CLEAN, LabelledRecord
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.columns import COLUMNS

EMPTY = dict.fromkeys(COLUMNS) | {"words": 9, "repeated_share": 0.0, "boxes": 0, "rouge_l": 0.3}


def rewrite(name: str, task: Task = Task.CAPTION, text: str = "A cat.", **scores: object) -> Rewrite:
    images = (Image("a.png"),)
    return Rewrite(name, "coco", "val", "", task, "Q?", images, "raw", text, "stop", {}, {**EMPTY, **scores})


def labelled(
    name: str, wrong: bool, task: Task = Task.CAPTION, kind: str = "negated", **scores: object
) -> LabelledRecord:
    record = replace(rewrite(name, task, **scores), extras={"probe": kind} if wrong and "!" in name else {})
    return LabelledRecord(record, (wrong,), kind if wrong else CLEAN, name.partition("!")[0])


def twins(count: int = 200, seed: int = 5) -> list[LabelledRecord]:
    """Captions and answers with a corrupted copy each: STS lower, contradiction more likely."""
    rng = Random(seed)
    records = []
    for i in range(count):
        if i % 2:
            records.append(labelled(f"c{i}", False, sts=round(rng.uniform(0.5, 1.0), 4)))
            records.append(labelled(f"c{i}!injected", True, sts=round(rng.uniform(0.2, 0.7), 4)))
        else:
            lead = rng.gauss(-2, 1)
            records.append(labelled(f"q{i}", False, Task.VQA, nli=[lead, 0.0, -9.0]))
            records.append(labelled(f"q{i}!injected", True, Task.VQA, nli=[lead + 3, 0.0, -9.0]))
    return records
