"""Questions with the short answer and a sentence that gives it: VQuAnDa, and ParaQA with several such sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, need, single_turn
from polite_flamingo.sources.forms.captions import ALL
from polite_flamingo.sources.forms.files import find_one, read_items, relative

SHORT = re.compile(r"\[([^][]*)\]")  # the short answer stands in brackets
SLOT = "answer"  # in its place where the authors left it out
CUT = re.compile(r",\s*\*(?=\s*(?:,|$))")  # a list that goes on


class Vquanda:
    """VQuAnDa: questions to DBpedia; the response is the sentence without its brackets."""

    name = "vquanda"
    tasks = frozenset({Task.TEXT})
    licence = "CC BY 4.0"
    siblings: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ("{split}.json", "vquanda_{split}.json", "vquanda_{split}.json.gz")
    sentences: tuple[str, ...] = ("verbalized_answer",)

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the file of a split; where rows say theirs, ``all`` takes every one."""
        file = find_one(root, folder, *(pattern.format(split=split) for pattern in self.patterns))
        for row, record in enumerate(read_items(file)):
            if split == ALL or not isinstance(record, dict) or record.get("split") in (None, split):
                yield attempt(self.name, relative(root, file), row, self._sample, split, record)

    def _sample(self, split: str, record: Any) -> Sample:
        given = [text for key in self.sentences if (text := " ".join(str(record.get(key) or "").split()))]
        if not given:
            raise DataError("row has no sentence", value=sorted(map(str, record)))
        shorts = [CUT.sub("", match[1]).strip() for match in map(SHORT.search, given) if match]
        if SLOT in shorts:
            raise DataError("the answer is left out of the sentence", value=given[shorts.index(SLOT)])
        sentences = [SHORT.sub(lambda match: CUT.sub("", match[1]).strip(), text) for text in given]
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{need(record, 'uid', str)}",
            Task.TEXT,
            question=need(record, "question", str),
            answer=sentences[0],
            extras={"answers": sentences, **({"short_answer": shorts[0]} if shorts else {})},
        )


class ParaQa(Vquanda):
    """ParaQA: the same questions with up to eight sentences; the response is the first, all are in ``answers``."""

    name = "paraqa"
    patterns = ("paraqa.json", "paraqa.json.gz", "ParaQA.json", "{split}.json")
    sentences = ("verbalized_answer", *(f"verbalized_answer_{number}" for number in range(2, 9)))
