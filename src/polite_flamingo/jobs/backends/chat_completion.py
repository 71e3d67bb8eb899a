"""An OpenAI-compatible chat completion on the wire: what is sent, what may come back, which faults may pass."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from polite_flamingo.errors import ConfigError
from polite_flamingo.images import open_image
from polite_flamingo.prompts.rewriting import text_of
from polite_flamingo.texts import cleaned

LOG = logging.getLogger(__name__)

KEY_VARIABLE = "OPENAI_API_KEY"
MOST_TOKENS = 2**40  # of one answer; an endpoint that counts more does not count
_TEXTS = {"text", "output_text"}  # types of parts that are the answer
_CHANNEL = "<|channel|>"
_THOUGHT = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)  # ends it; some never open it
_THINKING = re.compile(r"<(?:think|thinking|thought|reasoning)>.*", re.IGNORECASE | re.DOTALL)  # cut off
_ENDS = re.compile(
    r"(?:\s*(?:<\|(?:im_end|eot_id|eom_id|end|endoftext|end_of_text|return)\|>|</s>|<end_of_turn>))+\s*$"
)
_SIDE = 64  # pixels below which an image is not made smaller


@dataclass(frozen=True, slots=True)
class Reply:
    """A usable answer; token counts are None where the endpoint did not say."""

    text: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None

    @classmethod
    def of(cls, values: Any) -> Reply:
        """A reply as it was kept.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(values, dict) or values.keys() != set(cls.__slots__):
            raise ValueError("other fields")
        text, reason = values["text"], values["finish_reason"]
        if not isinstance(text, str) or reason not in ("stop", "length"):
            raise ValueError("no text, or ended otherwise")
        counts = [values[name] for name in ("prompt_tokens", "completion_tokens")]
        if counts != [_count(number) for number in counts]:
            raise ValueError("no counts")
        return cls(text, reason, *counts)


@dataclass(frozen=True, slots=True)
class ChatImage:
    """An image as a data url; in a request its hash stands for it, so that it is hashed once and never escaped.

    Args:
        name: Hash of the url.
        url: The data url.
    """

    name: str
    url: bytes

    @classmethod
    def of(cls, url: str) -> ChatImage:
        """An image with its hash."""
        data = url.encode()
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}", data)


@dataclass(frozen=True)
class ChatRequest:
    """The body of a request.

    Args:
        body: In which each image's name stands for its url.
        images: The images.
    """

    body: Mapping[str, Any]
    images: Sequence[ChatImage] = ()

    def with_keys(self, names: Mapping[str, str | None]) -> ChatRequest:
        """The same with keys of the body renamed, or left out where the new name is None."""
        renamed = {names.get(key, key): value for key, value in self.body.items()}
        return ChatRequest({key: value for key, value in renamed.items() if key is not None}, self.images)

    @cached_property
    def named(self) -> bytes:
        """JSON, with the images' names."""
        return json.dumps(self.body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def encoded(self) -> bytes:
        """JSON as it is sent."""
        data = self.named
        for image in self.images:  # no text can hold these bytes, for JSON writes its quotes otherwise
            data = data.replace(b'"url":"%b"' % image.name.encode(), b'"url":"%b"' % image.url)
        return data


class PassingError(Exception):
    """Worth another try, after `retry_after` seconds where the endpoint named them; `gone`: nobody is listening."""

    def __init__(self, what: str, retry_after: float = 0.0, *, gone: bool = False) -> None:
        super().__init__(what)
        self.retry_after = retry_after
        self.gone = gone


class RecordError(Exception):
    """This request will never be answered; others may. `spent`: tokens of prompt and answer it cost all the same."""

    def __init__(self, what: str, spent: tuple[int | None, int | None] = (None, None)) -> None:
        super().__init__(what)
        self.spent = spent


def check_url(url: str, *, sends_key: bool = False) -> str:
    """The base url without trailing slash.

    Args:
        url: As configured.
        sends_key: A key will be sent there; over plain http to another machine that is worth a warning.

    Raises:
        ConfigError: no http(s) url, or one with a password, query or fragment.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("not the url of an endpoint", value=url, next_step="write https://host/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "the url of an endpoint carries more than host and path",
            where=f"{parts.scheme}://{parts.hostname}",
            next_step=f"leave out user, query and fragment; a key comes from {KEY_VARIABLE}",
        )
    if sends_key and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        LOG.warning("the key of %s goes unencrypted to %s: use https", KEY_VARIABLE, parts.hostname)
    return url.rstrip("/")


def retry_after(value: str) -> float:
    """Seconds a ``Retry-After`` header asks for: a number or a date; 0 where it says neither."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def content_of(content: str | list[dict[str, Any]], images: Iterator[ChatImage]) -> str | list[dict[str, Any]]:
    """A message's content in the protocol's form; plain text where there is no image, which every server takes."""
    if isinstance(content, str) or all(part["type"] == "text" for part in content):
        return encodable(text_of(content))
    return [
        {"type": "text", "text": encodable(part["text"])}
        if part["type"] == "text"
        else {"type": "image_url", "image_url": {"url": next(images).name}}
        for part in content
    ]


def encodable(text: str) -> str:
    """`text` without lone surrogates, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def beginning(data: bytes) -> str:
    """How an answer begins, on one line."""
    return " ".join(data[:4096].decode(errors="replace").split())[:300]


def parse(data: bytes, shown: Callable[[bytes], str] = beginning) -> Reply:
    """Read a chat completion.

    Args:
        data: The answer.
        shown: What may be told of one that is none.

    Raises:
        PassingError: it is none, or its text is empty.
        RecordError: the model refused, called a tool, or had no tokens left for an answer.
    """
    try:
        value = json.loads(data)
        choice = value["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise PassingError(f"no chat completion but {shown(data)[:80]!r}") from None
    if refusal or reason in ("content_filter", "tool_calls", "function_call"):
        raise RecordError(f"refused: {str(refusal or reason)[:200]}")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type", "text") in _TEXTS]
        content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    counts = value.get("usage")
    counts = counts if isinstance(counts, dict) else {}
    spent = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
    text = cleaned(without_reasoning(content)).strip() if isinstance(content, str) else ""
    if not text and reason == "length":
        raise RecordError(
            "no answer within max_new_tokens: the model spent them on reasoning; raise them, or turn thinking off",
            spent,
        )
    if not text:
        raise PassingError("the answer holds no text")
    return Reply(encodable(text), "length" if reason == "length" else "stop", *spent)


def _count(number: Any) -> int | None:
    """A count of tokens; None where it is none that anybody could mean."""
    return number if type(number) is int and 0 <= number <= MOST_TOKENS else None


def without_reasoning(text: str) -> str:
    """What a model says to the reader: no thoughts before ``</think>``, no other channel, no token of its template."""
    if _CHANNEL in text:
        text = text.rpartition(f"{_CHANNEL}final<|message|>")[2] if f"{_CHANNEL}final<|message|>" in text else ""
        text = re.split(r"<\|(?:end|return|start|channel)\|>", text)[0]
    text = _THOUGHT.split(text)[-1]
    return _ENDS.sub("", _THINKING.sub("", text)).strip()


def image_url(root: Path, path: str, *, edge: int, most_bytes: int) -> str:
    """An image as a JPEG data url within the bounds; its metadata stays here.

    Args:
        root: Folder of the image paths.
        path: The image.
        edge: Longest edge, pixels.
        most_bytes: Largest JPEG.

    Raises:
        ImageError: it cannot be used.
    """
    from PIL import Image

    image = open_image(root, path)
    quality = 90
    while True:
        image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= most_bytes or max(image.size) <= _SIDE:
            return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        edge, quality = max(_SIDE, max(image.size) * 3 // 4), 80
