"""What the readers of instruction data share: LLaVA, ShareGPT with images, messages, Data-Juicer, WebDataset.

What this project has exported comes back as it was: a record that says what it is keeps its id, source, split, licence,
task and extras. Other records get ids ``name/split/folder/file-id``. Where in a turn an image stood is not kept: images
stand before the text. A system message goes into ``extras["system"]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import PLAIN, draw_request
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need, reject_other_media
from polite_flamingo.sources.forms.conversations import hear, is_ours, read_utterances, restore
from polite_flamingo.sources.forms.files import find_all, relative
from polite_flamingo.sources.forms.pictures import Pictures
from polite_flamingo.sources.forms.rows import read_rows

ALL = "all"  # the split that means every record
TURN = ("from", "value")  # keys of a turn
NOT_RECORDS = ("dataset_info.json", "left_out.jsonl", "export.json")  # lie beside the records of an export


@dataclass
class Content:
    """What a record says: its turns, where its images are, and the rest."""

    turns: tuple[Turn, ...]
    images: list[Any]
    extras: dict[str, Any] = field(default_factory=dict)
    task: Task | None = None


class Interchange(ABC):
    """Files, splits and ids of such a reader; a subclass understands one record."""

    name: str
    tasks = frozenset(Task)
    licence = "not stated in the file"
    siblings: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ("*.json", "*.json.gz", "*.jsonl", "*.jsonl.gz")

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the files of a folder; `split` picks the records that name it, ``all`` takes every one.

        Records that name no split are of the one that is asked for.
        """
        files = record_files(root, folder, *self.patterns)
        pictures = Pictures(root, folder)
        seen: Counter[str] = Counter()
        for file in files:
            where = relative(root, file)
            prefix = f"{folder}/{file.name.partition('.')[0]}"
            for number, record in self._records(root, file):
                if isinstance(record, Reject):
                    yield record
                elif split == ALL or not isinstance(record, dict) or record.get("split", split) == split:
                    yield attempt(
                        self.name, where, number, self._sample, pictures, split, prefix, number, seen, seed, record
                    )
                    if pictures.problem is not None:
                        raise pictures.problem

    def _records(self, root: Path, file: Path) -> Iterator[tuple[Any, Any]]:
        return read_rows(self.name, root, file)

    @abstractmethod
    def _parse(self, record: Any) -> Content:
        """Turns, images and what else a record says."""

    def _sample(
        self, pictures: Pictures, split: str, prefix: str, number: Any, seen: Counter[str], seed: int, record: Any
    ) -> Sample:
        if not isinstance(record, dict):
            raise DataError("record is not an object", value=record)
        reject_other_media(record)
        ours = is_ours(record)
        content = self._parse(record)
        images = tuple(pictures.locate(value, from_root=ours) for value in content.images)
        if ours:
            return restore(record, content.turns, images)
        own = record.get("id", number)
        official = f"{prefix}-{own if isinstance(own, str | int) and str(own).strip() else number}"
        seen[official] += 1  # ids repeat in LLaVA's own files
        official += f"-{seen[official]}" if seen[official] > 1 else ""
        split = record["split"] if isinstance(record.get("split"), str) else split
        sample_id = f"{self.name}/{split}/{official}"
        turns = content.turns
        if content.task is Task.CAPTION:
            request = draw_request(PLAIN, seed=seed, sample_id=sample_id)
            turns = (Turn("human", request, tuple(range(len(images)))), *turns)
        return Sample(
            id=sample_id,
            source=self.name,
            split=split,
            licence=self.licence,
            task=content.task or (Task.DIALOGUE if images else Task.TEXT),
            turns=turns,
            images=images,
            extras=content.extras,
        )


def record_files(root: Path, folder: str, *patterns: str) -> list[Path]:
    """Files of a folder that match, but for those that describe an export.

    Raises:
        DataError: there are none.
    """
    files = [file for file in find_all(root, folder, *patterns) if file.name not in NOT_RECORDS]
    if not files:
        raise DataError("no file with records found", value=list(patterns), where=root / folder)
    return files


def parse_conversations(record: Any) -> Content:
    """What a record in LLaVA's or ShareGPT's form says, or in FineVision's (``texts: [{user, assistant}]``)."""
    images = as_list(record.get("images") if record.get("image") is None else record["image"])
    if "conversations" not in record and "texts" in record:
        pairs = [(need(turn, "user", str), need(turn, "assistant", str)) for turn in need(record, "texts", list)]
        spoken = [(role, text) for pair in pairs for role, text in zip(("human", "assistant"), pair, strict=True)]
        return Content(hear(spoken, len(images)), images)
    first = next(iter(need(record, "conversations", list)), None)
    keys = ("role", "content") if isinstance(first, dict) and "from" not in first and "role" in first else TURN
    utterances, system = read_utterances(record, "conversations", *keys)
    system = record["system"] if isinstance(record.get("system"), str) and record["system"] else system
    return Content(hear(utterances, len(images)), images, {} if system is None else {"system": system})


def as_list(value: Any) -> list[Any]:
    """A value that may stand alone, be a list or be absent, as a list."""
    return list(value) if isinstance(value, list) else [] if value in (None, "") else [value]
