"""JSON written one record at a time: a list, or lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from polite_flamingo.io.files import replacing


class JsonWriter:
    """The file appears, complete, when the ``with`` block ends without an error.

    Args:
        path: The file; its folder is made.
        lines: JSON Lines instead of a list.
    """

    def __init__(self, path: Path, lines: bool = False) -> None:
        self._path = path
        self._lines = lines
        self._exit = ExitStack()
        self.count = 0

    def __enter__(self) -> Self:
        part = self._exit.enter_context(replacing(self._path))
        self._file = self._exit.enter_context(open(part, "w", encoding="utf-8"))
        self._file.write("" if self._lines else "[")
        return self

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record."""
        line = json.dumps(record, ensure_ascii=False)
        self._file.write(f"{line}\n" if self._lines else f"{',' if self.count else ''}\n{line}")
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.write("" if self._lines else "\n]\n")
        self._exit.__exit__(kind, error, trace)
