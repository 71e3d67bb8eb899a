"""One error family: what went wrong, with which value, where, and what to do next."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

YAML_HINT = "mend that line: indent by spaces, and put text that holds `: ` or `#`, or begins with * & { [ %, in quotes"


SHOWN = 300  # characters of a text in a message
SHOWN_IN_ALL = 3000  # characters of many texts
SHOWN_OF_PROSE = 20_000  # characters of what a message says itself, which may name much of the data
NESTED = 4  # levels of a value in a message
_BRACKETS: dict[type, str] = {dict: "{}", list: "[]", tuple: "()", set: "{}"}


class PoliteFlamingoError(Exception):
    """Base of every error a user can cause and mend.

    Args:
        what: What is wrong, in one sentence without a full stop.
        value: The offending value, shown as `quoted` does; omit when there is none.
        where: File, row, key or stage the value came from.
        next_step: What the reader should do now.
    """

    def __init__(self, what: str, *, value: object = None, where: object = None, next_step: str | None = None) -> None:
        self.what = _shortened(what)
        self.value = hide(value) if isinstance(value, str) else value
        self.where = None if where is None else _shortened(str(Path.cwd() if str(where) == "." else where))
        self.next_step = None if next_step is None else _shortened(next_step)
        parts = [self.what]
        if value is not None:
            parts.append(f"value: {quoted(value)}")
        if self.where is not None:
            parts.append(f"where: {self.where}")
        if next_step is not None:
            parts.append(f"next: {self.next_step}")
        super().__init__(hide("\n  ".join(parts)))


class ConfigError(PoliteFlamingoError):
    """params.yaml, a profile or a command line holds something unusable."""


class DataError(PoliteFlamingoError):
    """A file or row of a dataset cannot be used."""


class ImageError(DataError):
    """An image is missing, broken, too large or outside the data root."""


class QualityError(PoliteFlamingoError):
    """A quality gate failed; the message names the rows."""


class ModelError(PoliteFlamingoError):
    """Weights or a model folder cannot be used."""


class BusyError(PoliteFlamingoError):
    """Another process already writes to the same output."""


class StorageError(PoliteFlamingoError):
    """A disk is full, read-only or failing; what was written before is intact."""


_SECRETS: dict[str, re.Pattern[str]] = {}
LEAST_SECRET = 8  # characters; what is shorter ("EMPTY") is none, and would be found in innocent words
_HEAD = 12  # characters that give a secret away; what follows them goes, too, for messages are cut anywhere
_ESCAPED = re.compile(r"\\|%|&#")


def keep_secret(secret: str | None) -> None:
    """Mask a secret from now on in every error, every line of a log (of any library) and whatever asks `hide`."""
    if secret is None or len(secret) < LEAST_SECRET:
        return
    if not _SECRETS:
        logging.setLogRecordFactory(_masking(logging.getLogRecordFactory()))
    head = "".join(_spellings(letter) for letter in secret[:_HEAD])
    _SECRETS[secret] = re.compile(head + r"[^\s\"'<>,)\]}]*")


def hide(text: str) -> str:
    """A text without any secret, also where it is spelled in escapes of JSON, Python, a URL or HTML."""
    for secret, spelled in _SECRETS.items():
        if secret[:_HEAD] in text or _ESCAPED.search(text):
            text = spelled.sub("[key]", text)
    return text


def _spellings(letter: str) -> str:
    number = f"{ord(letter):x}"
    return f"(?:{re.escape(letter)}|(?i:\\\\+u0*{number}|\\\\+x0*{number}|%{number}|&#x0*{number};)|&#0*{ord(letter)};)"


def _masking(factory: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """A maker of log records that hold no secret."""

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        with suppress(Exception):  # a message that does not fit its values is told by whoever handles it
            record.msg, record.args = hide(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = hide(logging.Formatter().formatException(record.exc_info))
        return record

    return make


def quoted(value: object) -> str:
    """A value for a message, as ``repr`` writes it; of a long one the beginning, however large it is."""
    texts = isinstance(value, list | tuple) and all(isinstance(part, str) for part in islice(value, SHOWN))
    most, text = SHOWN_IN_ALL if texts else 2 * SHOWN, ""
    for piece in _pieces(value, 0):
        text += piece
        if len(text) > most:
            return f"{text[:most]} …"
    return text


def _shortened(text: str) -> str:
    text = hide(text)
    return text if len(text) <= SHOWN_OF_PROSE else f"{text[:SHOWN_OF_PROSE]} …"


def _pieces(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str | bytes):
        yield repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r} … ({len(value):,} in all)"
    elif depth < NESTED and value and type(value) in _BRACKETS:
        yield _BRACKETS[type(value)][0]
        parts: Iterable[Any] = value  # type: ignore[assignment]  # it has brackets
        for number, part in enumerate(parts):
            yield ", " if number else ""
            yield from _pieces(part, depth + 1)
            if isinstance(value, dict):
                yield ": "
                yield from _pieces(value[part], depth + 1)
        yield ",)" if isinstance(value, tuple) and len(value) == 1 else _BRACKETS[type(value)][1]
    elif value and type(value) in _BRACKETS:
        yield "…"
    else:
        try:
            text = repr(value)
        except ValueError:  # a number of thousands of digits
            text = f"<{type(value).__name__}>"
        yield text if len(text) <= SHOWN else f"{text[:SHOWN]} …"


_FULL = ("the disk is full", "free space, then start again")
_READ_ONLY = ("the folder cannot be written", "make it writable, then start again")
_MEMORY = ("no memory is left", "lower the batch sizes or limits under `runtime` of the profile, then start again")
_REFUSALS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: ("the quota of the disk is used up", "free space, then start again"),
    errno.EFBIG: ("the file would grow above the limit", "raise the limit (ulimit -f), then start again"),
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n), then start again"),
    errno.ENFILE: ("too many files are open", "end other programs or raise the machine's limit, then start again"),
    errno.EIO: ("storage fails", "check the disk, then start again"),
    errno.ENOMEM: _MEMORY,
}
_SAID = {  # by libraries that raise errors of their own
    "no space left on device": errno.ENOSPC,
    "no usable temporary directory": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EROFS,
    "too many open files": errno.EMFILE,
    "cannot allocate memory": errno.ENOMEM,
    "can't allocate memory": errno.ENOMEM,
}
_KEPT = "what was finished before is intact and is not computed again"


def refusal(error: BaseException, where: object = None) -> StorageError | None:
    """What the machine refused (room on a disk, a file, memory), with the next step; None: the error is no such thing.

    Args:
        error: As Python, Arrow, safetensors, torch or SQLite raised it, or what was raised from that.
        where: The folder in question; by default the file that the error names.
    """
    cause: BaseException | None = error
    while cause is not None:
        number = errno.ENOMEM if isinstance(cause, MemoryError) else getattr(cause, "errno", None)
        if number not in _REFUSALS:
            said = str(cause).lower()[:SHOWN_IN_ALL]
            number = next((number for words, number in _SAID.items() if words in said), None)
        if number is not None:
            named = getattr(cause, "filename2", None) or getattr(cause, "filename", None)
            what, step = _REFUSALS[number]
            return StorageError(
                what, value=os.strerror(number), where=named if where is None else where, next_step=f"{step}; {_KEPT}"
            )
        cause = cause.__cause__ or cause.__context__
    return None


_UNSEEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_STEERING = re.compile(f"[{_UNSEEN}]")  # of a terminal, or of the direction of text


def printable(text: str) -> str:
    """A text for a terminal or a page: what would steer it is shown as an escape, which is one of JSON too."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'x'? known: a, b"`` for an unknown `name`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
