"""A handful of decided records on disk, as the stage `filter` leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image as PILImage
from tests.unit.filter.scoring import decide_records, with_columns, write_decided

from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.records import Image, Rewrite, Task

SETTINGS = FilterSettings().changed({"sts.per_task": {"change": 0.85}})
GOOD, WRONG = [-1.0, 3.0, 0.0], [3.0, -1.0, 0.0]


def record(
    number: int, source: str = "coco", task: Task = Task.CAPTION, text: str = "There is a red circle.", **scores: Any
) -> Rewrite:
    given = {"rouge_l": 0.3, "sts": 0.7, "nli": None, "clip_logits": None, "reward": 1.5, "reward_raw": -1.0, **scores}
    bare = Rewrite(
        f"{source}/train/{number}", source, "train", "-", task, "What is here?", (Image("a.png"),), "red", text, "stop"
    )
    return with_columns(bare, **given)


def natural() -> list[Rewrite]:
    """Four kept, one of them cut; one taken by STS, one by NLI, one by length and STS."""
    return [
        record(1),
        record(2, sts=0.39),
        record(3, text="A red circle.\n\nA cat sleeps on it.", clip_logits=[25.0, 3.0]),
        record(4, text="red", sts=0.1),
        record(5, "vqa", Task.VQA, nli=GOOD),
        record(6, "vqa", Task.VQA, nli=WRONG),
        record(7, "diff", Task.CHANGE, sts=0.9),
    ]


def write(folder: Path, rewrites: list[Rewrite]) -> Path:
    """Folder ``pf1m``; ``raw`` beside it has the image."""
    write_decided(folder / "pf1m", zip(rewrites, decide_records(rewrites, SETTINGS), strict=True))
    (folder / "raw").mkdir(exist_ok=True)
    PILImage.new("RGB", (640, 480), "red").save(folder / "raw" / "a.png")
    return folder / "pf1m"
