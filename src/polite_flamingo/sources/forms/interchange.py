"""The forms people keep instruction data in, as inputs: LLaVA, ShareGPT with images, messages, Data-Juicer.

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
from polite_flamingo.prompts.requests import CAPTION, draw_request
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need
from polite_flamingo.sources.forms.conversations import (
    DJ_END,
    DJ_IMAGE,
    IMAGE_TAG,
    ROLES,
    SYSTEM,
    hear,
    is_ours,
    read_dj,
    read_said,
    restore,
    unmarked,
)
from polite_flamingo.sources.forms.files import find_all, relative
from polite_flamingo.sources.forms.pictures import Pictures
from polite_flamingo.sources.forms.rows import read_rows

ALL = "all"  # the split that means every record
NOT_RECORDS = ("dataset_info.json", "left_out.jsonl", "export.json")  # lie beside the records of an export


@dataclass
class Heard:
    """What a record says: its turns, where its images are, and the rest."""

    turns: tuple[Turn, ...]
    images: list[Any]
    extras: dict[str, Any] = field(default_factory=dict)
    task: Task | None = None


class Interchange(ABC):
    """Shared by the readers of this module: files, splits, ids; a subclass understands one record."""

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
    def _heard(self, record: Any) -> Heard:
        """Turns, images and what else a record says."""

    def _sample(
        self, pictures: Pictures, split: str, prefix: str, number: Any, seen: Counter[str], seed: int, record: Any
    ) -> Sample:
        if not isinstance(record, dict):
            raise DataError("record is not an object", value=record)
        ours = is_ours(record)
        heard = self._heard(record)
        images = tuple(pictures.place(value, from_root=ours) for value in heard.images)
        if ours:
            return restore(record, heard.turns, images)
        own = record.get("id", number)
        official = f"{prefix}-{own if isinstance(own, str | int) and str(own).strip() else number}"
        seen[official] += 1  # ids repeat in LLaVA's own files
        official += f"-{seen[official]}" if seen[official] > 1 else ""
        split = record["split"] if isinstance(record.get("split"), str) else split
        sample_id = f"{self.name}/{split}/{official}"
        turns = heard.turns
        if heard.task is Task.CAPTION:
            request = draw_request(CAPTION, seed=seed, sample_id=sample_id)
            turns = (Turn("human", request, tuple(range(len(images)))), *turns)
        return Sample(
            id=sample_id,
            source=self.name,
            split=split,
            licence=self.licence,
            task=heard.task or (Task.DIALOGUE if images else Task.TEXT),
            turns=turns,
            images=images,
            extras=heard.extras,
        )


class LlavaJson(Interchange):
    """LLaVA: ``{id, image: path or list, conversations: [{from, value}]}``, ``<image>`` in the text."""

    name = "llava_json"

    def _heard(self, record: Any) -> Heard:
        return hear_conversations(record)


class SharegptJson(Interchange):
    """ShareGPT as LLaMA-Factory and ms-swift read it: LLaVA's turns, and ``images: [path, …]``."""

    name = "sharegpt_json"

    def _heard(self, record: Any) -> Heard:
        return hear_conversations(record)


class MessagesJson(Interchange):
    """Messages: ``messages: [{role, content: text or parts}]`` and ``images: [path or bytes, …]``."""

    name = "messages_json"
    patterns = (*Interchange.patterns, "*.parquet", "data/*.parquet")

    def _heard(self, record: Any) -> Heard:
        images = _listed(record.get("images"))
        turns: list[Turn] = []
        extras: dict[str, Any] = {}
        shown = 0
        for message in need(record, "messages", list):
            role = need(message, "role", str)
            text, indices, shown = _content(message.get("content"), images, shown)
            if role == SYSTEM and not turns and not indices:
                extras["system"] = text
            elif role not in ROLES:
                raise DataError("message is of nobody known", value=role)
            else:
                turns.append(Turn(ROLES[role], text, indices))
        if turns and images and not any(turn.images for turn in turns):
            turns[0] = Turn(turns[0].role, turns[0].text, tuple(range(len(images))))
        unseen = set(range(len(images))) - {index for turn in turns for index in turn.images}
        if unseen:
            raise DataError("image is shown in no message", value=sorted(unseen))
        return Heard(tuple(turns), images, extras)


class DatajuicerJsonl(Interchange):
    """Data-Juicer: ``{text, images}`` with ``<__dj__image>``; a text in which nobody speaks is a caption."""

    name = "datajuicer_jsonl"

    def _heard(self, record: Any) -> Heard:
        text, images = need(record, "text", str), _listed(record.get("images"))
        text = record["text"]
        tag = DJ_IMAGE if DJ_IMAGE in text else IMAGE_TAG
        said = read_dj(text)
        if said:
            return Heard(hear(said, len(images), tag), images)
        answer = hear([("assistant", text.replace(DJ_END, ""))], len(images), tag)[0].text.strip()
        return Heard((Turn("assistant", answer),), images, {"captions": [answer]}, Task.CAPTION)


def record_files(root: Path, folder: str, *patterns: str) -> list[Path]:
    """Files of a folder that match, but for those that describe an export.

    Raises:
        DataError: there are none.
    """
    files = [file for file in find_all(root, folder, *patterns) if file.name not in NOT_RECORDS]
    if not files:
        raise DataError("no file with records found", value=list(patterns), where=root / folder)
    return files


def hear_conversations(record: Any) -> Heard:
    """What a record in LLaVA's or ShareGPT's form says."""
    said, system = read_said(record, "conversations", "from", "value")
    images = _listed(record.get("images") if record.get("image") is None else record["image"])
    system = record["system"] if isinstance(record.get("system"), str) and record["system"] else system
    return Heard(hear(said, len(images)), images, {} if system is None else {"system": system})


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value in (None, "") else [value]


def _content(content: Any, images: list[Any], shown: int) -> tuple[str, tuple[int, ...], int]:
    """Text of a message, the images in it, and how many have been shown by now; adds images that stand in it."""
    if isinstance(content, str):
        marks = content.count(IMAGE_TAG)
        return unmarked(content), tuple(range(shown, shown + marks)), shown + marks
    if not isinstance(content, list):
        raise DataError("'content' is neither text nor a list", value=content)
    texts: list[str] = []
    indices: list[int] = []
    for part in content:
        kind = need(part, "type", str)
        if kind == "text":
            texts.append(part["text"] if isinstance(part.get("text"), str) else need(part, "text", str))
        elif kind == "image":
            index, inline = part.get("index"), part.get("image")
            if inline is not None:
                index = len(images)
                images.append(inline)
            elif not isinstance(index, int):
                index = shown
            indices.append(index)
            shown += 1
        else:
            raise DataError("part of a message is neither text nor image", value=kind)
    return "\n".join(texts), tuple(indices), shown
