"""Files in pieces, of which each knows the record it belongs to.

A test can so damage the bytes of one record and tell which other records it has left alone.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

Owners = frozenset[int]
NOBODY: Owners = frozenset()  # brackets, headers, lists of classes: they belong to the file as a whole


@dataclass(frozen=True)
class Record:
    """What one record is made of.

    Args:
        index: 0, 1 …
        texts: Three texts; each begins with a word of its own and is never blank.
    """

    index: int
    texts: tuple[str, str, str]

    @property
    def number(self) -> int:
        """An id no other record's id turns into by a change of a few bytes: 111111, 222222 …"""
        return 111_111 * (self.index + 1)

    @property
    def lines(self) -> tuple[str, ...]:
        """The texts, each on one line, for formats of lines."""
        return tuple(" ".join(text.split()) for text in self.texts)


@dataclass
class Files:
    """Files under construction: path -> pieces (owners, bytes)."""

    root: Path
    pieces: dict[str, list[tuple[Owners, bytes]]] = field(default_factory=dict)

    def add(self, name: str, content: bytes | str | Iterable[tuple[Owners, bytes]], owner: int | None = None) -> None:
        """A file that belongs to one record, to nobody, or is given in pieces."""
        if isinstance(content, bytes | str):
            data = content.encode() if isinstance(content, str) else content
            self.pieces[name] = [(NOBODY if owner is None else frozenset({owner}), data)]
        else:
            self.pieces[name] = list(content)

    def image(self, name: str, size: tuple[int, int] = (64, 48)) -> None:
        """A picture; it is not damaged."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", size, "gray").save(file)

    def listed(self, name: str, rows: Sequence[Any], **options: Any) -> None:
        """A JSON list, row i of record i."""
        self.add(name, _list(enumerate(rows), **options))

    def keyed(self, name: str, rows: Iterable[tuple[str, Any]]) -> None:
        """A JSON object, entry i of record i."""
        self.add(name, _object(rows))

    def under(self, name: str, **lists: Any) -> None:
        """A JSON object of lists whose row i is of record i; what is no list, or a `Shared`, is of nobody."""
        pieces: list[tuple[Owners, bytes]] = [(NOBODY, b"{")]
        for place, (key, rows) in enumerate(lists.items()):
            pieces.append((NOBODY, (", " if place else "").encode() + f"{json.dumps(key)}: ".encode()))
            if isinstance(rows, dict):
                pieces += _object(rows.items())
            elif isinstance(rows, list):
                pieces += _list(enumerate(rows))
            else:
                pieces.append((NOBODY, json.dumps(rows.value).encode()))
        self.add(name, [*pieces, (NOBODY, b"}")])

    def lines(self, name: str, rows: Sequence[str | dict[str, Any]], head: str = "") -> None:
        """A file of lines, JSON Lines where rows are objects; line i of record i, line ends of both neighbours."""
        pieces: list[tuple[Owners, bytes]] = [(NOBODY, head.encode())] if head else []
        for index, row in enumerate(rows):
            text = row if isinstance(row, str) else json.dumps(row)
            pieces += [(frozenset({index}), text.encode()), (frozenset({index, index + 1}), b"\n")]
        self.add(name, pieces)

    def write(self) -> None:
        """Write all files."""
        for name, pieces in self.pieces.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"".join(data for _, data in pieces))


@dataclass(frozen=True)
class Shared:
    """A JSON value that belongs to no record."""

    value: Any


def _list(rows: Iterable[tuple[int, Any]]) -> list[tuple[Owners, bytes]]:
    pieces: list[tuple[Owners, bytes]] = [(NOBODY, b"[")]
    for index, row in rows:
        pieces += [(NOBODY, b", ")] if index else []
        pieces.append((frozenset({index}), json.dumps(row).encode()))
    return [*pieces, (NOBODY, b"]")]


def _object(rows: Iterable[tuple[str, Any]]) -> list[tuple[Owners, bytes]]:
    pieces: list[tuple[Owners, bytes]] = [(NOBODY, b"{")]
    for index, (key, row) in enumerate(rows):
        pieces += [(NOBODY, b", ")] if index else []
        pieces.append((frozenset({index}), f"{json.dumps(key)}: {json.dumps(row)}".encode()))
    return [*pieces, (NOBODY, b"}")]


def csv_line(*fields: str) -> bytes:
    """A row of a quoted table; such files hold no NUL."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([field.replace("\0", "") for field in fields])
    return buffer.getvalue().encode()


def parquet(files: Files, name: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    files.add(name, buffer.getvalue())
