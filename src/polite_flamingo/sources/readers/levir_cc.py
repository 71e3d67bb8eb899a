"""LEVIR-CC: what changed between two remote sensing images of one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import REMOTE_CHANGE
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import VALUE_LENGTH, attempt, below, need
from polite_flamingo.sources.forms.files import find_one, relative
from polite_flamingo.sources.forms.karpathy import karpathy_images, raw_sentences
from polite_flamingo.sources.forms.pairs import Ids, pair_sample

SPLITS = ("train", "val", "test")


class LevirCc:
    """LEVIR-CC, one sample per pair with its five sentences (Table 6, row LEVIR-CC).

    The image before (folder ``A``) always comes first. The blank before the full stop of the tokenised sentences is
    taken out. Pairs without change have sentences that say so and are kept; ``extras["changed"]`` tells them apart.
    """

    name = "levir_cc"
    tasks = frozenset({Task.CHANGE})
    licence = "none stated; published for academic use"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the pairs of a split from ``LevirCCcaptions.json``; images are ``images/<split>/{A,B}/<filename>``.

        All splits stand in one file: rows of the others are passed over, rows of no known split are rejected.
        """
        if split not in SPLITS:
            raise DataError("no such split", value=split, where=folder, next_step=f"use one of {list(SPLITS)}")
        file = find_one(root, folder, "LevirCCcaptions.json")
        where = relative(root, file)
        ids = Ids()
        for row, record in enumerate(karpathy_images(file)):
            stated = record.get("split") if isinstance(record, dict) else None
            if stated not in SPLITS:
                value = str(stated if isinstance(record, dict) else record)[:VALUE_LENGTH]
                yield Reject(self.name, where, str(row), "row names no known split", value)
            elif stated == split:
                yield attempt(self.name, where, row, self._sample, f"{folder}/images", split, record, ids, seed)

    def _sample(self, folder: str, split: str, record: Any, ids: Ids, seed: int) -> Sample:
        file_name = need(record, "filename", str)
        sentences = [re.sub(r"\s+([.,;:!?])", r"\1", text) for text in raw_sentences(record)]
        images = (below(f"{folder}/{split}/A", file_name), below(f"{folder}/{split}/B", file_name))
        flag = record.get("changeflag")
        extras = {"changed": bool(flag)} if isinstance(flag, int) else {}
        stem = PurePosixPath(file_name).stem
        return pair_sample(self, split, ids.unique(stem), REMOTE_CHANGE, images, sentences, seed, **extras)
