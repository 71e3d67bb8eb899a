"""Answers of an endpoint, kept on disk under the content hash of what was asked.

One line per answer, appended the moment it arrives: checksum, content hash, JSON. A killed process so loses none that
came; a line that was torn or spoilt counts as not there, and the others stand. Every process at work on the folder
appends to a file of its own and reads what all of them held when it began.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import zlib
from array import array
from bisect import bisect_right
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np

from polite_flamingo.errors import hide
from polite_flamingo.jobs.backends.chat_completion import Reply

LOG = logging.getLogger(__name__)

_HASH = 64  # characters of a content hash
_OFFSET_BITS = 44  # of a place: the others number its file
_RECENT = 4096  # places that are not in the sorted arrays yet


class AnswerCache:
    """The answers of a folder; used from one thread, opened when it is first asked.

    Args:
        folder: Where; None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._places = _Places()
        self._readers: list[int] = []  # file descriptors, by the number in a place
        self._writer = -1
        self._end = 0  # of the file written to
        self._opened = False

    def recall(self, name: str) -> Reply | None:
        """The answer kept under a content hash."""
        if not self._open():
            return None
        place = self._places.find(int(name[:16], 16))
        if place is None:
            return None
        file, offset = divmod(place, 1 << _OFFSET_BITS)
        found = _parse(_line(self._readers[file], offset))
        if found is None:
            LOG.warning("a kept answer is spoilt and is asked for again: %s, byte %d", self._folder, offset)
            return None
        try:
            return Reply.of(json.loads(found[1])) if found[0] == name else None
        except (ValueError, RecursionError):  # of another version
            return None

    def remember(self, name: str, reply: Reply) -> None:
        """Keep an answer; where the disk refuses, none are kept any more."""
        if not self._open():
            return
        value = {key: getattr(reply, key) for key in Reply.__slots__}
        text = hide(f"{name} {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}").encode()
        line = b"%08x %b\n" % (zlib.crc32(text), text)
        try:
            _write(self._writer, line)  # what a power cut spoils is asked for again
        except OSError as error:
            self._refuse(error)
            return
        self._places.add(int(name[:16], 16), len(self._readers) - 1 << _OFFSET_BITS | self._end)
        self._end += len(line)

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        for file in [*self._readers, *([self._writer] if self._writer >= 0 else [])]:
            os.close(file)
        self._readers.clear()
        self._places = _Places()
        self._writer, self._opened = -1, False

    def _open(self) -> bool:
        """Read where every answer lies and take a file to append to; False: nothing is kept."""
        if self._opened or self._folder is None:
            return self._opened
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            own = self._take_file(self._folder)
            for path in sorted(self._folder.glob("answers-*.lines"), key=lambda path: (path == own, path)):
                self._read(path)
        except OSError as error:
            self._refuse(error)
            return False
        self._opened = True
        return True

    def _take_file(self, folder: Path) -> Path:
        """Lock the first file that nobody appends to."""
        for number in count():
            path = folder / f"answers-{number:03d}.lines"
            self._writer = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
            with suppress(BlockingIOError):
                fcntl.flock(self._writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._end = os.lseek(self._writer, 0, os.SEEK_END)
                if self._end and os.pread(self._writer, 1, self._end - 1) != b"\n":
                    _write(self._writer, b"\n")  # ends the line that a killed process began
                    self._end += 1
                return path
            os.close(self._writer)
        raise AssertionError

    def _read(self, path: Path) -> None:
        file = len(self._readers)
        self._readers.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        names, places, offset, spoilt = array("Q"), array("Q"), 0, 0
        with open(path, "rb") as lines:
            for line in lines:
                if (found := _parse(line)) is not None:
                    names.append(int(found[0][:16], 16))
                    places.append(file << _OFFSET_BITS | offset)
                else:
                    spoilt += 1
                offset += len(line)
        self._places.extend(names, places)
        if spoilt:
            LOG.warning("%s: %d spoilt lines are passed over; their answers are asked for again", path, spoilt)

    def _refuse(self, error: OSError) -> None:
        LOG.warning("answers are not kept any more: %s: %s", self._folder, error)
        self.close()
        self._folder = None


class _Places:
    """Where the lines begin, by the first 64 bits of their content hashes: 16 bytes for each; the last one counts."""

    def __init__(self) -> None:
        self._names = array("Q")  # in order
        self._places = array("Q")
        self._recent: dict[int, int] = {}

    def find(self, name: int) -> int | None:
        if (place := self._recent.get(name)) is not None:
            return place
        index = bisect_right(self._names, name) - 1
        return self._places[index] if index >= 0 and self._names[index] == name else None

    def add(self, name: int, place: int) -> None:
        self._recent[name] = place
        if len(self._recent) == _RECENT:
            self.extend(array("Q", self._recent), array("Q", self._recent.values()))
            self._recent.clear()

    def extend(self, names: array[int], places: array[int]) -> None:
        joined = np.frombuffer(self._names + names, np.uint64)
        order = np.argsort(joined, kind="stable")
        self._names = array("Q", joined[order].tobytes())
        self._places = array("Q", np.frombuffer(self._places + places, np.uint64)[order].tobytes())


def _parse(line: bytes) -> tuple[str, bytes] | None:
    """Content hash and JSON of a line; None where it is not as it was written."""
    checksum, _, text = line.partition(b" ")
    if not text.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text[:-1]):
        return None
    name, _, value = text.partition(b" ")
    return (name.decode(), value) if len(name) == _HASH else None


def _line(file: int, offset: int) -> bytes:
    """The line that begins at an offset."""
    data = b""
    while b"\n" not in data and (more := os.pread(file, 4096, offset + len(data))):
        data += more
    return data[: data.find(b"\n") + 1]


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
