"""What a verb prints, without what would steer the terminal: escape sequences, or the direction of text.

Whatever a verb prints of the data (ids, answers, file names, messages of a log) passes here, so that no verb has to
think of it. Progress bars go their own way.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polite_flamingo.errors import printable


class PrintableStream:
    """A text stream whose texts are made `printable`; for all else it is the stream below.

    Args:
        stream: Where the texts go.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; the number of its characters."""
        if not isinstance(text, str):
            raise TypeError(f"a text is written, no {type(text).__name__}")
        self._stream.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts one after another."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PrintableFormatter(logging.Formatter):
    """Lines of a log for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback if there is one."""
        return printable(super().format(record))


@contextmanager
def printable_output() -> Iterator[None]:
    """Have what is printed meanwhile pass a `PrintableStream`."""
    before, sys.stdout = sys.stdout, PrintableStream(sys.stdout)
    try:
        yield
    finally:
        sys.stdout = before
