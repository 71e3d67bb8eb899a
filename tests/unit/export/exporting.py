"""A small folder of kept records, as the stage `filter` writes it, and its export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as PILImage
from tests.unit.filter.scoring import write_decided

from polite_flamingo.export.kept import KeptRecord
from polite_flamingo.export.provenance import Provenance
from polite_flamingo.export.run import export
from polite_flamingo.filter.chain import Decision
from polite_flamingo.io.text import write_json
from polite_flamingo.records import Image, Rewrite, Task

SCORES: dict[str, Any] = {"rouge_l": 0.28333333, "sts": None, "nli": None, "reward": 5.25, "reward_raw": -1.0}
REPORT: dict[str, Any] = {
    "records": 9,
    "kept": 5,
    "edited": 1,
    "filters": [{"filter": "length", "applied": 9, "would_drop_alone": 3, "dropped": 2}],
    "thresholds": {"length.min_words": 3, "paragraphs.min_clip_logit": 2.0},
    "overridden": {"filter.paragraphs.min_clip_logit": [17.0, 2.0]},
}


def kept(number: int, task: Task, images: Sequence[str] = (), **values: Any) -> KeptRecord:
    """One record of the dataset coco, unless `values` say otherwise."""
    cut = values.pop("cut", ())
    plain = Rewrite(
        id=f"coco/train/{number}",
        source="coco",
        split="train",
        licence="CC BY 4.0",
        task=task,
        instruction="Describe it.",
        images=tuple(Image(path) for path in images),
        raw_answer="a skier\n",
        rewritten="A skier jumps.",
        finish_reason="stop",
        extras={"boxes": [["skier", 0.1, 0.2, 0.3, 0.4]]},
        scores=SCORES,
    )
    return KeptRecord(replace(plain, **values), cut)


def several() -> list[KeptRecord]:
    """A caption, an answer, a change of two images, and text alone."""
    cut = ((16.0191, "Also, „zwei“ people."),)
    scores = {**SCORES, "sts": 0.41372, "clip_logits": [23.2587, 20.0]}
    return [
        kept(1, Task.CAPTION, ["coco/a.png"], rewritten="One.\n\nTwo.", cut=cut, scores=scores),
        kept(2, Task.VQA, ["coco/b.jpg"], id="vqav2/val/a.b/2", source="vqav2", split="val", extras={}),
        kept(3, Task.CHANGE, ["pairs/1.png", "pairs/1_2.png"], source="spot_the_diff", licence="none stated"),
        kept(4, Task.TEXT, instruction="\n Wer? 你好 \u2028 [[gpt]] ", rewritten="  Ich.\n"),
    ]


def write_kept(folder: Path, records: Sequence[KeptRecord]) -> None:
    """KeptRecord records as the stage `filter` leaves them."""
    write_decided(folder, ((r.rewrite, Decision(None, {}, r.rewrite, r.cut)) for r in records))


class Project:
    """A data root with the images of some records, and the folders of a run."""

    report = REPORT

    def __init__(self, path: Path, records: Sequence[KeptRecord]) -> None:
        self.root = path / "raw"
        self.root.mkdir()
        for index, image in enumerate(sorted({i.path for r in records for i in r.rewrite.images})):
            file = self.root / image
            file.parent.mkdir(parents=True, exist_ok=True)
            PILImage.new("RGB", (4, 4), (index, 20, 40)).save(file)
        self.path = path
        write_kept(path, records)
        write_json(path / "filter.json", REPORT)

    def export(self, name: str, folder: str = "raw/exported", **options: Any) -> Path:
        out = self.path / folder
        self.summary = export(
            name,
            self.path,
            out,
            image_root=self.root,
            filters=self.path / "filter.json",
            **{"provenance": Provenance("`some-model`", {"profile": "tiny"}), **options},
        )
        return out
