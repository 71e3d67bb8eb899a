"""The list of a journal's sealed shards: one JSON line each, appended, so that sealing costs the same at any length.

The last line about a shard counts. Every line has a checksum; one that is torn, damaged or foreign is passed over, and
the shard it would have named is looked up. `Manifest.finish` writes the lines anew in the order of the shards.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from polite_flamingo.io.files import replacing

LOG = logging.getLogger(__name__)

FILE = "manifest.jsonl"
FORMAT = 4


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """A sealed shard.

    Args:
        shard: Its number.
        key: Content hash of its units.
        rows: Units in it.
        failed: Those without an answer.
        broken: Those with an unusable image.
        sha256: Of its file.
        counts: Sums of the answers' own figures.
        version: Of the input it was read from (`questions.Input`); empty: unknown.
        end: Place in the input behind its last unit; empty: unknown.
    """

    shard: int
    key: str
    rows: int
    failed: int
    broken: int
    sha256: str
    counts: dict[str, int] = field(default_factory=Counter)
    version: str = ""
    end: Sequence[int] = ()


class Manifest:
    """The entries of a folder, in memory (some 700 bytes for each shard) and on the disk.

    Args:
        folder: The journal's.
        shard_size: Units per shard; entries of another size are not believed.
    """

    def __init__(self, folder: Path, shard_size: int) -> None:
        self._path = folder / FILE
        self._head = json.dumps({"format": FORMAT, "shard_size": shard_size})
        self.entries: dict[int, SealedEntry] = {}
        self._whole = self._read()

    def add(self, entry: SealedEntry) -> None:
        """Enter a shard; on return the entry is on the disk."""
        self.entries[entry.shard] = entry
        if not self._whole:
            self._write()
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())

    def leading(self, version: str) -> list[SealedEntry]:
        """The entries from shard 0 on, as many as follow each other, are complete and tell where in `version` they end.

        A shard with a broken image or a failed unit is not among them: both are worth another look first.
        """
        entries: list[SealedEntry] = []
        while (entry := self.entries.get(len(entries))) is not None:
            if not version or entry.version != version or not entry.end or entry.failed or entry.broken:
                break
            entries.append(entry)
        return entries

    def finish(self, shards: int) -> None:
        """Forget what lies beyond `shards`; the same entries give the same file, however they came."""
        self.entries = {shard: self.entries[shard] for shard in sorted(self.entries) if shard < shards}
        self._write()

    def _read(self) -> bool:
        """Read the file; False where it has to be written anew before anything can be appended."""
        if not self._path.is_file():
            return False
        lines = self._path.read_bytes().decode(errors="replace").splitlines(keepends=True)
        if not lines or lines[0] != f"{self._head}\n":
            LOG.warning("%s is unusable: finished shards are looked up one by one", self._path)
            return False
        whole = True
        for number, line in enumerate(lines[1:], 2):
            if (entry := _entry(line)) is None:
                LOG.warning("%s, line %d is damaged: its shard is looked up", self._path, number)
                whole = False
            else:
                self.entries[entry.shard] = entry
        return whole

    def _write(self) -> None:
        with replacing(self._path) as part:
            part.write_text("".join([f"{self._head}\n", *map(_line, self._sorted())]), encoding="utf-8")
        self._whole = True

    def _sorted(self) -> Iterator[SealedEntry]:
        return (self.entries[shard] for shard in sorted(self.entries))


def _line(entry: SealedEntry) -> str:
    text = json.dumps(asdict(entry), sort_keys=True, separators=(",", ":"))
    return f'{{"crc":{zlib.crc32(text.encode())},"entry":{text}}}\n'


def _entry(line: str) -> SealedEntry | None:
    """The entry of a line; None where the line is not as one is written."""
    try:
        entry = SealedEntry(**json.loads(line)["entry"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return entry if _line(replace(entry, end=tuple(entry.end))) == line else None
