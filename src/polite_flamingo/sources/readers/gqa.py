"""GQA: compositional questions on images of Visual Genome, in the official files and in the LAVIS mirror."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, single_turn
from polite_flamingo.sources.forms.files import find_all, read_rows, relative

FOLDERS = ("", "questions/", "questions1.2/")
SPLITS = ("train", "val", "testdev", "test", "challenge", "submission")


class Gqa:
    """GQA, one sample per question; the raw answer is the short one (Table 6, row GQA, 2307.01003).

    ``extras["full_answer"]`` is the answer in a sentence. Splits without answers: all their rows are rejected.
    """

    name = "gqa"
    tasks = frozenset({Task.VQA})
    licence = "CC BY 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``<split>_questions.json`` or its shards ``<split>_questions/<split>_questions_<n>.json``.

        `split` is ``train_balanced``, ``train_all``, ``testdev_balanced`` …; ``train`` alone is the balanced one. The
        official files are an object by question id, those of the mirror a list. Images are ``images/<id>.jpg``.
        """
        subset = f"{split}_balanced" if split in SPLITS else split
        for file in _files(root, folder, subset):
            where = relative(root, file)
            for name, record in read_rows(file):
                yield attempt(self.name, where, name, self._sample, f"{folder}/images", split, name, record)

    def _sample(self, images: str, split: str, name: str, record: Any) -> Sample:
        answer = need(record, "answer", str)
        if "imageId" in record:
            image = f"{need(record, 'imageId', str)}.jpg"
        else:
            image, name = need(record, "image", str), _question_id(record)
        types = record.get("types")
        kind = types.get("structural") if isinstance(types, dict) else None
        full = record.get("fullAnswer")
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{name}",
            Task.VQA,
            question=need(record, "question", str),
            answer=answer,
            images=(below(images, image),),
            extras={"answers": [answer], "question_type": str(kind or "")}
            | ({"full_answer": full.strip()} if isinstance(full, str) and full.strip() else {}),
        )


def _question_id(record: Any) -> str:
    value = record.get("question_id")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else need(record, "question_id", str)


def _files(root: Path, folder: str, subset: str) -> list[Path]:
    """The one file of a subset, or its shards in their order."""
    stem = f"{subset}_questions"
    whole = [f"{base}{stem}.json" for base in FOLDERS]
    shards = [f"{base}{stem}/{stem}_*.json" for base in FOLDERS]
    files = find_all(root, folder, *whole, *shards)
    copies = {file.parent if file.parent.name == stem else file for file in files}
    if len(copies) > 1:
        names = sorted(copy.name for copy in copies)
        raise DataError("more than one annotation file fits", value=names, where=root / folder, next_step="keep one")
    return sorted(files, key=lambda file: (len(file.name), file.name))
