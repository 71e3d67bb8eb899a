"""Dialogues as text with image markers, the form that LLaVA, ShareGPT and Data-Juicer share; both directions.

A record also says what it is in keys of ours that trainers pass over: ``source``, ``split``, ``licence``, ``task`` and
``details`` (JSON in text, so that tables of such records keep one type per column). With them a sample comes back as it
was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Sample, Task, Turn
from polite_flamingo.sources.base import need

IMAGE_TAG = "<image>"
DJ_IMAGE = "<__dj__image>"
DJ_END = "<|__dj__eoc|>"
ATTRIBUTES = ("source", "split", "licence", "task", "details")
WRITTEN = {"human": "human", "assistant": "gpt"}  # our roles as LLaVA, ShareGPT and Data-Juicer write them
ROLES = {
    "human": "human",
    "user": "human",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}
SYSTEM = "system"
Utterance = tuple[str, str]  # role, text
_SPEAKER = re.compile(r"(?:^|\n)\[\[(human|gpt)\]\]: ")


def attributes(sample: Sample) -> dict[str, str]:
    """The keys that say what a record is."""
    details = json.dumps(dict(sample.extras), ensure_ascii=False, sort_keys=True)
    values = (sample.source, sample.split, sample.licence, str(sample.task), details)
    return dict(zip(ATTRIBUTES, values, strict=True))


def is_ours(record: Mapping[str, Any]) -> bool:
    """Whether a record says what it is."""
    return all(isinstance(record.get(key), str) for key in ("id", *ATTRIBUTES))


def restore(record: Mapping[str, Any], turns: Sequence[Turn], images: Sequence[Image]) -> Sample:
    """The sample of a record that says what it is."""
    try:
        task, extras = Task(record["task"]), json.loads(record["details"])
    except (ValueError, RecursionError) as error:
        raise DataError("record does not say what it is", value=str(error)) from None
    if not isinstance(extras, dict):
        raise DataError("'details' is not an object", value=extras)
    return Sample(
        id=record["id"],
        source=record["source"],
        split=record["split"],
        licence=record["licence"],
        task=task,
        turns=tuple(turns),
        images=tuple(images),
        extras=extras,
    )


def say(sample: Sample, tag: str = IMAGE_TAG) -> list[Utterance]:
    """Role and text of every turn, each image a line of its own before the text.

    Raises:
        DataError: the form cannot hold the sample.
    """
    indices = [index for turn in sample.turns for index in turn.images]
    if indices != list(range(len(sample.images))):
        raise DataError("images are not shown once each and in order", value=indices)
    if any(tag in turn.text for turn in sample.turns):
        raise DataError(f"text holds the image marker {tag}")
    return [(turn.role, f"{tag}\n" * len(turn.images) + turn.text) for turn in sample.turns]


def hear(utterances: Sequence[Utterance], images: int, tag: str = IMAGE_TAG) -> tuple[Turn, ...]:
    """The turns of a dialogue; without any marker, all images are shown in the first.

    Raises:
        DataError: there are not as many markers as images.
    """
    if not utterances:
        raise DataError("record has no turns")
    turns: list[Turn] = []
    offset = 0
    for role, text in utterances:
        marks = text.count(tag)
        turns.append(Turn(role, unmarked(text, tag), tuple(range(offset, offset + marks))))
        offset += marks
    if not offset and turns:
        return (Turn(turns[0].role, turns[0].text, tuple(range(images))), *turns[1:])
    if offset != images:
        raise DataError(f"{offset} image markers for {images} images")
    return tuple(turns)


def unmarked(text: str, tag: str = IMAGE_TAG) -> str:
    """Text without its image markers; as it is where it only begins with them."""
    while text.startswith(f"{tag}\n"):
        text = text.removeprefix(f"{tag}\n")
    return text.replace(tag, "").strip() if tag in text else text


def read_utterances(record: Any, key: str, role_key: str, text_key: str) -> tuple[list[Utterance], str | None]:
    """Role and text of every turn, and the system message if there is one.

    Raises:
        DataError: a turn of nobody known, or text that is none.
    """
    utterances: list[Utterance] = []
    system: str | None = None
    for turn in need(record, key, list):
        role = need(turn, role_key, str)
        text = turn.get(text_key)
        if not isinstance(text, str):
            raise DataError(f"{text_key!r} is not text", value=text)
        if role == SYSTEM and not utterances:
            system = text
        elif role not in ROLES:
            raise DataError("turn is of nobody known", value=role)
        else:
            utterances.append((ROLES[role], text))
    return utterances, system


def write_dj(sample: Sample) -> str:
    """The ``text`` of Data-Juicer: one chunk, ``[[human]]: …`` and ``[[gpt]]: …`` on lines of their own.

    Raises:
        DataError: the form cannot hold the sample.
    """
    utterances = say(sample, DJ_IMAGE)
    if any(_SPEAKER.search(turn.text) or DJ_END in turn.text for turn in sample.turns):
        raise DataError("text holds a marker of Data-Juicer")
    return "\n".join(f"[[{WRITTEN[role]}]]: {text}" for role, text in utterances) + f" {DJ_END}"


def read_dj(text: str) -> list[Utterance]:
    """Inverse of `write_dj`; empty where nobody speaks (a mere caption)."""
    parts = _SPEAKER.split(text.replace(f" {DJ_END}", "").replace(DJ_END, ""))
    return [(ROLES[role], text) for role, text in zip(parts[1::2], parts[2::2], strict=True)]
