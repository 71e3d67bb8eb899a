"""UltraChat: long text-only dialogues, JSON Lines in files of which some are named .json."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need, reject_other_media
from polite_flamingo.sources.forms.files import find_all, read_lines, relative

PATTERNS = ("ultrachat_*.json", "ultrachat_*.jsonl", "ultrachat_*.gz", "train_[0-9].jsonl", "train_[0-9].jsonl.gz")


class Ultrachat:
    """UltraChat (section 3.2, text-only instructions). A last question without an answer is left off."""

    name = "ultrachat"
    tasks = frozenset({Task.TEXT})
    licence = "MIT"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read every ``ultrachat_*.json``, ``.jsonl`` (also ``.gz``), or Hugging Face's ``train_<n>.jsonl``.

        No splits, `split` is a label.
        """
        for file in find_all(root, folder, *PATTERNS):
            where = relative(root, file)
            part = re.sub(r"\W+", "_", file.name.partition(".json")[0]).strip("_")
            for row, record in read_lines(self.name, root, file):
                if isinstance(record, Reject):
                    yield record
                else:
                    yield attempt(self.name, where, row, self._sample, split, part, record)

    def _sample(self, split: str, part: str, record: Any) -> Sample:
        reject_other_media(record)
        texts = need(record, "data", list)
        texts = texts[: len(texts) - len(texts) % 2]
        if not texts:
            raise DataError("dialogue has no answer", value=record["data"])
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError("'data' holds something other than text", value=texts)
        return Sample(
            id=f"{self.name}/{split}/{part}-{need(record, 'id', str)}",  # ids start anew in every file
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.TEXT,
            turns=tuple(Turn(("human", "assistant")[i % 2], text.strip()) for i, text in enumerate(texts)),
        )
