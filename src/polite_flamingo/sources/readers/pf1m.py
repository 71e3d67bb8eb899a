"""PF-1M's JSON as input: rewritten responses by instruction and image (the authors' release, arXiv 2307.01003)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, single_turn
from polite_flamingo.sources.forms.files import read_items, relative
from polite_flamingo.sources.forms.interchange import record_files
from polite_flamingo.sources.forms.pictures import Pictures

MARK = "<img_path>"
SCORES = {
    "rouge_score": "rouge_l",
    "sts_similarity": "sts",
    "nli_similarity": "nli",
    "reward": "reward",
    "paragraph_clip_scores": "clip_logits",
}
_IMAGE = re.compile(f"{MARK}(.*?){MARK}")


def split_input(text: str) -> tuple[str, list[str]]:
    """Instruction and image paths of an ``input`` field."""
    return _IMAGE.sub("", text), _IMAGE.findall(text)


def task_of(record: Mapping[str, Any], images: int) -> Task:
    """The task, as far as a record's scores and its number of images tell it."""
    if "nli_similarity" in record:
        return Task.VQA
    if "sts_similarity" in record or "paragraph_clip_scores" in record:
        return Task.CHANGE if images == 2 else Task.CAPTION
    return Task.DIALOGUE if images else Task.TEXT


class Pf1mJson:
    """PF-1M files, one sample per record: the rewritten response, with the raw annotation and scores in `extras`.

    The format holds no id, source, licence or split; ids are ``pf1m_json/split/folder/file-position``. Image paths are
    those of the authors' data root.
    """

    name = "pf1m_json"
    tasks = frozenset({Task.CAPTION, Task.CHANGE, Task.VQA, Task.DIALOGUE, Task.TEXT})
    licence = "not stated in the file"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read every ``*.json`` of a folder; `split` is a label."""
        pictures = Pictures(root, folder)
        for file in record_files(root, folder, "*.json", "*.json.gz"):
            stem = file.name.partition(".json")[0]
            for row, record in enumerate(read_items(file)):
                sample_id = f"{self.name}/{split}/{folder}/{stem}-{row}"
                yield attempt(self.name, relative(root, file), row, self._sample, pictures, sample_id, split, record)

    def _sample(self, pictures: Pictures, sample_id: str, split: str, record: Any) -> Sample:
        for key in ("input", "output", "original"):
            need(record, key, str)
        instruction, paths = split_input(record["input"])
        images = tuple(pictures.locate(path, from_root=True) for path in paths)
        extras: dict[str, Any] = {
            "raw_answer": record["original"],
            "scores": {ours: record[theirs] for theirs, ours in SCORES.items() if record.get(theirs) is not None},
        }
        if record.get("filtered_paragraphs"):
            extras["cut"] = need(record, "filtered_paragraphs", list)
        return single_turn(
            self,
            split,
            sample_id,
            task_of(record, len(images)),
            question=instruction,
            answer=record["output"],
            images=images,
            extras=extras,
        )
