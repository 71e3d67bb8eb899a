"""JSON written one record at a time: a list, or lines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class JsonWriter:
    """The file appears, complete, when the ``with`` block ends without an error.

    Args:
        path: The file; its folder is made.
        lines: JSON Lines instead of a list.
    """

    def __init__(self, path: Path, lines: bool = False) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._lines = lines
        self.count = 0

    def __enter__(self) -> Self:
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._part, "w", encoding="utf-8")
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
        with self._file as file:
            file.write("" if self._lines else "\n]\n")
            file.flush()
            os.fsync(file.fileno())
        if kind is None:
            os.replace(self._part, self._path)
        else:
            self._part.unlink()
