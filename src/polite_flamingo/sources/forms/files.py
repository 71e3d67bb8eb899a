"""Finding and reading annotation files: JSON (streamed when large), JSON Lines, both also gzipped."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, cast

from polite_flamingo.errors import DataError
from polite_flamingo.images import IMAGE_FORMATS
from polite_flamingo.records import Reject
from polite_flamingo.sources.base import VALUE_LENGTH, Source

STREAM_ABOVE = 8 * 1024 * 1024  # bytes; larger JSON files are streamed, smaller ones parsed at once (better messages)
BESIDE_FILES = "._"  # how the names of what macOS puts beside files into archives begin
LISTED = 12  # names in a message
STEEP = 1000  # brackets opened and not closed in one read of the streaming parser (64 KiB)
PACKED = 8  # how many times larger the text of a gzipped file is taken to be
RATIO = 200  # how many times larger it may be; repetitive JSON reaches some tens
ALLOWANCE = 64 << 20  # bytes that the text of any may have

_looking: ContextVar[bool] = ContextVar("looking", default=False)  # see has_annotations


class _FileAccessError(Exception):
    """A file would have been read or written."""


def find_all(root: Path, folder: str, *patterns: str) -> list[Path]:
    """Files below ``root/folder`` that match any glob pattern, sorted.

    Raises:
        DataError: the folder does not exist or nothing matches.
    """
    base = root / folder
    if not base.is_dir():
        raise DataError(
            "dataset folder does not exist",
            value=folder,
            where=root.absolute(),
            next_step=f"name one that is there, or put it there; there are {contents(root)}",
        )
    try:
        found = {path for pattern in patterns for path in base.glob(pattern) if path.is_file()}
        files = sorted(path for path in found if not path.name.startswith(BESIDE_FILES))
    except (OSError, ValueError, RecursionError) as error:  # names no file can have
        hint = "put the official files there or name another split"
        raise DataError("files cannot be looked for", value=str(error), where=base, next_step=hint) from None
    if not files:
        raise DataError(
            "no annotation file found",
            value=list(patterns),
            where=base,
            next_step=f"put the files there, or name those that are (split or file); there are {contents(base)}",
        )
    return files


def contents(folder: Path) -> str:
    """What lies in a folder, to say so where something is looked for in vain: names, pictures only counted."""
    found = sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    pictures = [path for path in found if path.suffix.lower() in IMAGE_FORMATS]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in found if path not in pictures]
    more = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    parts = [*names[:LISTED], *more, *([f"{len(pictures)} pictures"] if pictures else [])]
    return ", ".join(parts) or "no files"


def find_one(root: Path, folder: str, *patterns: str) -> Path:
    """The one file that matches.

    Raises:
        DataError: none, or more than one.
    """
    files = find_all(root, folder, *patterns)
    if len(files) > 1:
        raise DataError(
            "more than one annotation file fits",
            value=[path.name for path in files],
            where=root / folder,
            next_step="name the split more exactly, e.g. train2017 instead of train",
        )
    return files[0]


def relative(root: Path, path: Path) -> str:
    """`path` below `root`, as it is written into quarantine."""
    return path.relative_to(root).as_posix()


def read_items(path: Path, key: str | None = None) -> Iterator[Any]:
    """Yield the items of the list under `key` of a JSON object (of the root list without `key`).

    Raises:
        DataError: not valid JSON (names line and column, or the byte offset of a streamed file), or no such list.
    """
    if _is_large(path):
        yield from _stream_items(path, key)
        return
    value = load_json(path)
    if key is not None:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, list):
        raise _no_list(path, key)
    yield from value


def read_rows(path: Path, key: str | None = None) -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of an object of records or a list of them: the root of a JSON file, or what is under `key`.

    The name is the record's key in the object, or its index in the list.

    Raises:
        DataError: not valid JSON, or neither.
    """
    if not _is_large(path):
        content = load_json(path)
        if key is not None:
            content = content.get(key) if isinstance(content, dict) else None
        if isinstance(content, dict):
            yield from content.items()
        elif isinstance(content, list):
            yield from ((str(index), value) for index, value in enumerate(content))
        else:
            raise _no_records(path, key)
        return
    if key is not None or first_byte(path) == b"{":
        empty = True
        for pair in _stream(path, lambda ijson, file: ijson.kvitems(file, key or "", use_float=True)):
            empty = False
            yield pair
        if not empty or key is None:
            return
    elif first_byte(path) != b"[":
        raise _no_records(path, key)
    yield from ((str(index), value) for index, value in enumerate(_stream_items(path, key)))


def _is_large(path: Path) -> bool:
    return path.stat().st_size * (PACKED if path.suffix == ".gz" else 1) > STREAM_ABOVE


def load_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: it is not valid JSON, and where.
    """
    with open_file(path) as file:
        data = _guarded(file, path)
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise _broken(path, error.msg, f"{path}:{error.lineno}:{error.colno}") from None
    except UnicodeDecodeError as error:
        raise _broken(path, error.reason, f"{path}, byte {error.start}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of nested brackets
        raise _broken(path, str(error), str(path)) from None


def _stream_items(path: Path, key: str | None) -> Iterator[Any]:
    prefix = "item" if key is None else f"{key}.item"
    count = 0
    for item in _stream(path, lambda ijson, file: ijson.items(file, prefix, use_float=True)):
        count += 1
        yield item
    if not count:
        raise _no_list(path, key)


def _stream(path: Path, parse: Callable[[Any, IO[bytes]], Iterator[Any]]) -> Iterator[Any]:
    import ijson

    with open_file(path) as file:
        try:
            yield from parse(ijson, cast(IO[bytes], _Shallow(file)))
        except (ijson.JSONError, ValueError) as error:
            raise _broken(path, " ".join(str(error).split()), f"{path}, before byte {file.tell()}") from None
        except (EOFError, OSError, zlib.error) as error:
            raise unreadable(path, error) from None


class _Shallow:
    """A JSON file, not read on where brackets nest so deep that the parser's notes on them would fill the memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """The next `size` bytes; a `ValueError` where far more brackets open than close in them."""
        data = self._file.read(size)
        if data.count(b"[") + data.count(b"{") - data.count(b"]") - data.count(b"}") > STEEP:
            raise ValueError("brackets nest too deeply")
        return data


def first_byte(path: Path) -> bytes:
    """The byte a file of JSON begins with, without white space before it.

    Raises:
        DataError: the file cannot be read.
    """
    with open_file(path) as file:
        try:
            return file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        except (EOFError, OSError, zlib.error) as error:
            raise unreadable(path, error) from None


def read_lines(source: str, root: Path, path: Path) -> Iterator[tuple[int, Any | Reject]]:
    """Yield (line number, value) of a JSON Lines file; a broken line gives a `Reject` and reading goes on."""
    with open_file(path) as file:
        lines = enumerate(file, 1)
        while True:
            try:
                number, line = next(lines)
            except StopIteration:
                return
            except (EOFError, OSError, zlib.error) as error:
                raise unreadable(path, error) from None
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                text = line.decode("utf-8", "replace").strip()[:VALUE_LENGTH]
                reason = f"line is not valid JSON: {error}"
                yield number, Reject(source, relative(root, path), str(number), reason, text)


def open_file(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, through gzip where its name ends in ``.gz``."""
    stop_if_looking()
    return io.BufferedReader(_Unpacked(path)) if path.suffix == ".gz" else open(path, "rb")


class _Unpacked(io.RawIOBase):
    """The text of a gzipped file, as far as it is of a size that a file of annotations may have."""

    def __init__(self, path: Path) -> None:
        self._path, self._text = path, gzip.open(path, "rb")  # noqa: SIM115 - closed by close
        self._most = RATIO * path.stat().st_size + ALLOWANCE

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; returns how far.

        Raises:
            DataError: the text is of no size that it may have, or the file is broken off or damaged.
        """
        try:
            count = self._text.readinto(buffer)
        except (EOFError, OSError, zlib.error) as error:
            raise unreadable(self._path, error) from None
        if self._text.tell() > self._most:
            step = "fetch it again; if it is right, unpack it"
            raise DataError(f"file unpacks to more than {self._most} bytes", where=self._path, next_step=step)
        return count

    def tell(self) -> int:
        """Place in the text."""
        return self._text.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the text."""
        return self._text.seek(offset, whence)

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        super().close()


def stop_if_looking() -> None:
    """Called before a file is read or written in any other way than by `open_file`; ends `has_annotations` there."""
    if _looking.get():
        raise _FileAccessError


def has_annotations(reader: Source, root: Path, folder: str, split: str) -> bool:
    """Does a reader find the annotation files of a split? It is stopped before it reads the first of them."""
    token = _looking.set(True)
    try:
        return next(iter(reader.read(root, folder, split, seed=0)), None) is not None
    except _FileAccessError:
        return True
    except DataError:
        return False
    finally:
        _looking.reset(token)


def _guarded(file: IO[bytes], path: Path) -> bytes:
    try:
        return file.read()
    except (EOFError, OSError, zlib.error) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> DataError:
    """The error of a file whose bytes cannot be had."""
    return DataError("file cannot be read", value=str(error), where=path, next_step="fetch it again")


def _broken(path: Path, message: str, where: str) -> DataError:
    hint = f"fetch {path.name} again or mend it"
    return DataError("file is not valid JSON", value=message, where=where, next_step=hint)


def _no_list(path: Path, key: str | None) -> DataError:
    what = "file holds no list" if key is None else f"file holds no list {key!r}"
    return DataError(what, where=path, next_step="check that it is the official file of this dataset")


def _no_records(path: Path, key: str | None) -> DataError:
    what = "file holds neither a list nor an object of records" + ("" if key is None else f" {key!r}")
    return DataError(what, where=path, next_step="check that it is the official file of this dataset")
