"""WebDataset: tar files whose members with one name, up to the first dot, are one sample.

Where such a name holds several captions (``22.05.txt``, ``22.06.txt``), the dots are of the names; each is a sample.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from polite_flamingo.errors import DataError
from polite_flamingo.images import MAX_IMAGE_BYTES
from polite_flamingo.records import Reject, Task, Turn
from polite_flamingo.sources.base import OTHER_MEDIA_SUFFIXES, VALUE_LENGTH
from polite_flamingo.sources.forms.files import open_file, relative, unreadable
from polite_flamingo.sources.forms.interchange import Content, Interchange, parse_conversations
from polite_flamingo.sources.forms.pictures import EXTENSIONS

SUFFIXES = frozenset({*EXTENSIONS.values(), "jpeg", "tiff"})


class Webdataset(Interchange):
    """``key.json`` in ShareGPT's form with ``key.png`` (several: ``key.0.png``, ``key.1.png``), or ``key.jpg`` and its
    caption in ``key.txt``.

    Archives are read as a stream and never unpacked: images are stored by the hash of their content, no name in an
    archive becomes a path.
    """

    name = "webdataset"
    patterns = ("*.tar", "*.tar.gz")

    def _records(self, root: Path, file: Path) -> Iterator[tuple[Any, Any]]:
        where = relative(root, file)
        for key, members, problem in _groups(file):
            for name, own in _samples(key, members):
                record = problem if problem is not None else _record(own)
                yield name, record if isinstance(record, dict) else Reject(self.name, where, name, record)

    def _parse(self, record: Any) -> Content:
        if "conversations" in record:
            return parse_conversations(record)
        caption = record.get("caption")
        if not isinstance(caption, str) or not caption.strip():
            raise DataError("sample has neither conversations nor a caption", value=sorted(record))
        if not record["images"]:
            raise DataError("caption of no image", value=caption)
        answer = " ".join(caption.split())
        return Content((Turn("assistant", answer),), record["images"], {"captions": [answer]}, Task.CAPTION)


def _samples(key: str, members: dict[str, bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of the members with one name: one, unless each text has more of the name before its ending."""
    if {"json", "txt"} & members.keys() or not any(name.endswith((".json", ".txt")) for name in members):
        yield key, members
        return
    apart: dict[str, dict[str, bytes]] = {}
    for name, data in members.items():
        rest, _, ending = name.rpartition(".")
        apart.setdefault(rest, {})[ending] = data
    for rest, own in apart.items():
        yield f"{key}.{rest}" if rest else key, own


def _record(members: dict[str, bytes]) -> dict[str, Any] | str:
    """One record of the members of a sample, or why there is none."""
    pictures = {name: data for name, data in members.items() if name.rpartition(".")[2].lower() in SUFFIXES}
    unread = sorted(name for name in members if name.rpartition(".")[2] in OTHER_MEDIA_SUFFIXES)
    if unread:
        return f"sample has a member {unread[0]!r}, which is not read"
    try:
        record = json.loads(members.get("json", b"{}"))
        caption = members["txt"].decode() if "txt" in members else None
    except (ValueError, RecursionError) as error:
        return f"sample cannot be read: {error}"[:VALUE_LENGTH]
    if not isinstance(record, dict):
        return "json of the sample is not an object"
    paths = record.get("images", record.get("image"))
    paths = paths if isinstance(paths, list) else [paths] * len(pictures)
    if len(paths) != len(pictures):
        return f"sample names {len(paths)} images and holds {len(pictures)}"
    if "conversations" not in record and caption is not None:
        record["caption"] = caption
    ordered = [pictures[name] for name in sorted(pictures, key=_position)]
    images = [{"bytes": data, "path": path} for data, path in zip(ordered, paths, strict=True)]
    return {**record, "image": None, "images": images}


def _position(name: str) -> tuple[int, str]:
    number = name.partition(".")[0]
    return (int(number) if number.isdecimal() else -1), name


def _groups(path: Path) -> Iterator[tuple[str, dict[str, bytes], str | None]]:
    """Yield (key, members by the rest of their names, what is wrong with them) of an archive."""
    key, problem = "", None
    members: dict[str, bytes] = {}
    with open_file(path) as file:
        try:
            for name, size, content in _members(path, file):
                folder, slash, base = name.rpartition("/")
                stem, dot, rest = base.partition(".")
                rest = rest.lower()
                if not dot or not stem:
                    continue
                if f"{folder}{slash}{stem}" != key:
                    if members or problem:
                        yield key, members, problem
                    key, members, problem = f"{folder}{slash}{stem}", {}, None
                if rest in members:
                    problem = f"sample has two members {rest!r}"
                elif size > MAX_IMAGE_BYTES:
                    problem = f"member {rest!r} is too large: {size} bytes"
                else:
                    members[rest] = content.read()
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
            raise unreadable(path, error) from None
    if members or problem:
        yield key, members, problem


def _members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes]]]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name.encode("utf-8", "replace").decode(), member.size, content
        file.seek(archive.offset)
        rest = file.read(tarfile.BLOCKSIZE)  # it takes a header it does not understand, and none at all, for the end
        if rest != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError(f"broken off or damaged at byte {archive.offset}")
