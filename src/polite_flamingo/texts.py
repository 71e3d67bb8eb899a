"""Text from outside: what of it is kept, and what a file or a path can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_NAME = 255  # bytes a file system takes for one part of a path
MAX_PATH = 3072  # bytes of all of it, which leaves a thousand for the data root
_SEEN = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]*")
_STEERING = re.compile(r"[\x00-\x08\x0e-\x1b\x7f\u202a-\u202e\u2066-\u2069]")
_STEERED = re.compile(r"\\u00[01]|[\x7f\u202a-\u202e\u2066-\u2069]")  # the same in JSON, and more
_SPACES = re.compile(r"[\x0b\x0c\x1c-\x1f]")


def cleaned(text: str) -> str:
    """Text from outside without what only steers terminals or turns the direction of what follows."""
    return text if str.isprintable(text) or _SEEN.fullmatch(text) else _SPACES.sub(" ", _STEERING.sub("", text))


def cleaned_value(value: Any) -> Any:
    """A JSON value with every text in it `cleaned`, keys too."""
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, Mapping):
        return {cleaned(key) if isinstance(key, str) else key: cleaned_value(one) for key, one in value.items()}
    return type(value)(map(cleaned_value, value)) if type(value) in (list, tuple) else value


def can_be_path(path: str) -> bool:
    """Whether a file system takes it as a relative path."""
    data = path.encode()
    return (
        b"\0" not in data
        and len(data) <= MAX_PATH
        and (len(data) <= MAX_NAME or max(map(len, data.split(b"/"))) <= MAX_NAME)
    )


def may_steer(dumped: str) -> bool:
    """Whether a JSON text may hold what `cleaned` takes away; true for some that do not."""
    return _STEERED.search(dumped) is not None


def is_text(*texts: str) -> bool:
    """Whether all can be written as UTF-8."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return False
    return True
