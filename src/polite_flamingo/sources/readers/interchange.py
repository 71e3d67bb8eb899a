"""The forms people keep instruction data in, as inputs: LLaVA, ShareGPT with images, messages, Data-Juicer."""

from __future__ import annotations

from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Task, Turn
from polite_flamingo.sources.base import need
from polite_flamingo.sources.forms.conversations import (
    DJ_END,
    DJ_IMAGE,
    IMAGE_TAG,
    ROLES,
    SYSTEM,
    hear,
    read_dj,
    unmarked,
)
from polite_flamingo.sources.forms.interchange import Content, Interchange, as_list, parse_conversations

PATTERNS = (*Interchange.patterns, "*.parquet", "data/*.parquet")


class LlavaJson(Interchange):
    """LLaVA: ``{id, image: path or list, conversations: [{from, value}]}``, ``<image>`` in the text."""

    name = "llava_json"
    patterns = PATTERNS

    def _parse(self, record: Any) -> Content:
        return parse_conversations(record)


class SharegptJson(Interchange):
    """ShareGPT as LLaMA-Factory and ms-swift read it: LLaVA's turns, and ``images: [path, …]``."""

    name = "sharegpt_json"
    patterns = PATTERNS

    def _parse(self, record: Any) -> Content:
        return parse_conversations(record)


class MessagesJson(Interchange):
    """Messages: ``messages: [{role, content: text or parts}]`` and ``images: [path or bytes, …]``."""

    name = "messages_json"
    patterns = PATTERNS

    def _parse(self, record: Any) -> Content:
        images = as_list(record.get("images"))
        turns: list[Turn] = []
        extras: dict[str, Any] = {}
        offset = 0
        for message in need(record, "messages", list):
            role = need(message, "role", str)
            text, indices, offset = _content(message.get("content"), images, offset)
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
        return Content(tuple(turns), images, extras)


class DatajuicerJsonl(Interchange):
    """Data-Juicer: ``{text, images}`` with ``<__dj__image>``; a text in which nobody speaks is a caption."""

    name = "datajuicer_jsonl"

    def _parse(self, record: Any) -> Content:
        text, images = need(record, "text", str), as_list(record.get("images"))
        text = record["text"]
        tag = DJ_IMAGE if DJ_IMAGE in text else IMAGE_TAG
        utterances = read_dj(text)
        if utterances:
            return Content(hear(utterances, len(images), tag), images)
        answer = hear([("assistant", text.replace(DJ_END, ""))], len(images), tag)[0].text.strip()
        return Content((Turn("assistant", answer),), images, {"captions": [answer]}, Task.CAPTION)


def _content(content: Any, images: list[Any], offset: int) -> tuple[str, tuple[int, ...], int]:
    """Text of a message, the images in it, and how many have been shown by now; adds images that stand in it."""
    if isinstance(content, str):
        marks = content.count(IMAGE_TAG)
        return unmarked(content), tuple(range(offset, offset + marks)), offset + marks
    if not isinstance(content, list):
        raise DataError("'content' is neither text nor a list", value=content)
    texts: list[str] = []
    indices: list[int] = []
    for part in content:
        kind = need(part, "type", str)
        if kind == "text":
            texts.append(part["text"] if isinstance(part.get("text"), str) else need(part, "text", str))
        elif kind in ("image", "image_url"):
            index, inline = part.get("index"), part.get(kind, part.get("path"))
            inline = inline.get("url") if kind == "image_url" and isinstance(inline, dict) else inline
            if inline is not None:
                index = len(images)
                images.append(inline)
            elif not isinstance(index, int):
                index = offset
            indices.append(index)
            offset += 1
        else:
            raise DataError("part of a message is neither text nor image", value=kind)
    return "\n".join(texts), tuple(indices), offset
