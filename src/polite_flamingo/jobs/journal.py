"""The journal: what is done stays done, whatever happens to the process, the disk or the input.

A folder for one job. The input is cut into shards of a fixed number of units. While a shard is open, every finished
call is appended to ``part-000007.frames`` as one checksummed frame and fsynced; when its last unit is there, it is
sealed: written in input order, with a hash of its values, to ``part-000007.parquet``, entered in ``manifest.jsonl``
(appended, fsynced), and its frames are removed. So a kill at any instant costs the calls in flight; a torn last frame
is cut off. Sealed shards hold nothing about time, batches or workers: they are byte-identical however the job went.

Rows are found again by the content hash of their unit alone, so that work of other settings is never taken for this.
What is damaged is never read as an answer: it is set aside (``….damaged``), and what it held is asked for again.

Why frames and not SQLite: both keep every finished call through kills, at the same processor time, but SQLite does not
check its pages, so that a flipped bit comes back as an answer; it takes 25 times the space, and its log wants a local
disk. ``python -m bench.bench_engine --journals`` compares them (docs/scoring.md).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import replacing, set_aside, sync_folder
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.locks import locked
from polite_flamingo.io.shards import read_checked_shard, readable, write_shard
from polite_flamingo.jobs.manifest import Manifest, SealedEntry
from polite_flamingo.jobs.outcomes import BROKEN, FAILED, AnswerFormat, Outcome
from polite_flamingo.jobs.questions import A
from polite_flamingo.jobs.storage import storage_errors

LOG = logging.getLogger(__name__)

SHARD_SIZE = 2048  # units per shard; part of the format of the result, independent of machine and batch
_PART = re.compile(r"part-(\d{6,})\.(?:parquet|frames)")
_MAGIC = b"PFJ2"
_HEADER = struct.Struct("<4sII")  # magic, payload bytes, CRC-32 of the payload


class Journal(Generic[A]):
    """An opened journal folder; use `open_journal`.

    Args:
        folder: Folder of the job.
        answers: The type of its answers.
        shard_size: Units per shard.
    """

    def __init__(self, folder: Path, answers: AnswerFormat[A], shard_size: int = SHARD_SIZE) -> None:
        self.folder = folder
        self.answers = answers
        self.shard_size = shard_size
        self._files: dict[int, int] = {}  # shard -> file descriptor of its frames
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        self.manifest = Manifest(folder, shard_size)

    def sealed(self, shard: int, keys: Sequence[str]) -> bool:
        """True where the shard is finished for exactly these units; failed ones are worth another try."""
        entry = self.manifest.entries.get(shard)
        if entry is None or entry.key != shard_key(keys) or entry.failed:
            return False
        path = self._sealed_path(shard)
        if not path.is_file() or hash_file(path) != entry.sha256:
            LOG.warning("%s is missing, or not the file that was sealed: its answers are looked up", path)
            return False
        if not self._holds_answers(path):
            LOG.warning("%s holds answers of another format and is made again", path)
            return False
        with self._guarded("seal"):
            self._frames_path(shard).unlink(missing_ok=True)  # left by a stop right after the manifest was written
        return True

    def restore(self, shard: int, keys: Sequence[str]) -> dict[str, Outcome[A]]:
        """What an earlier run finished of these units, by key; a torn tail is cut off, failed units are left out.

        Rows of another format, which an earlier version or another type of answer left, count as not there.
        """
        sealed, frames = self._sealed_path(shard), self._frames_path(shard)
        outcomes: dict[str, Outcome[A]] = {}
        if sealed.is_file():
            try:
                outcomes = self._outcomes(read_checked_shard(sealed))
            except DataError as error:
                with self._guarded("set aside"):
                    set_aside(sealed, f"{error.what}; {error.value}" if error.value else error.what)
        if frames.is_file():
            for rows in self._whole_frames(shard, frames):
                outcomes.update(self._outcomes(rows))
        asked = set(keys)
        return {key: outcome for key, outcome in outcomes.items() if key in asked and outcome.status != FAILED}

    def _outcomes(self, rows: Any) -> dict[str, Outcome[A]]:
        """The outcomes among rows, by key; whatever else they hold is none."""
        outcomes = {}
        for row in rows if isinstance(rows, list) else ():
            with suppress(KeyError, TypeError):
                outcome = self.answers.from_row(row)
                head = (outcome.key, outcome.id, outcome.status, outcome.reason)
                if all(isinstance(text, str) for text in head) and (
                    outcome.answer is None or self.answers.fault(outcome.answer) is None
                ):
                    outcomes[outcome.key] = outcome
        return outcomes

    def _whole_frames(self, shard: int, path: Path) -> list[Any]:
        """What the whole frames of a file hold; a torn tail is cut off, a file damaged before its end written anew."""
        data = path.read_bytes()
        frames = list(_frames(data))
        end = frames[-1][1] if frames else 0
        if sum(end - start for start, end, _ in frames) < end:
            with self._guarded("set aside"):
                set_aside(path, "frames are damaged; the others are kept")
                with replacing(path) as whole:
                    whole.write_bytes(b"".join(data[start:end] for start, end, _ in frames))
                if (file := self._files.pop(shard, None)) is not None:
                    os.close(file)
        elif end < len(data):
            LOG.warning("%s: %d bytes of an unfinished append cut off", path, len(data) - end)
            with self._guarded("cut"):
                os.truncate(path, end)
        return [rows for _, _, rows in frames]

    def append(self, shard: int, outcomes: Sequence[Outcome[A]]) -> None:
        """Add finished units to an open shard; on return they are on the disk.

        Raises:
            StorageError: the disk is full, read-only or failing; everything before is intact.
        """
        rows = [self.answers.to_row(outcome) for outcome in outcomes]
        payload = zlib.compress(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode(), 1)
        frame = _HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload
        with self._guarded("append"):
            file = self._open_frames(shard)
            before = os.lseek(file, 0, os.SEEK_END)
            try:
                view = memoryview(frame)
                while view:
                    view = view[os.write(file, view) :]
                os.fsync(file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, before)
                raise

    def seal(self, shard: int, outcomes: Sequence[Outcome[A]], version: str = "", end: Sequence[int] = ()) -> None:
        """Finish a shard.

        Args:
            shard: Its number.
            outcomes: All units of it, in input order.
            version: Of the input.
            end: Place in the input behind the last unit.
        """
        path = self._sealed_path(shard)
        with self._guarded("seal"):
            write_shard(path, [self.answers.to_row(outcome) for outcome in outcomes], checked=True)
            entry = SealedEntry(
                shard,
                shard_key([outcome.key for outcome in outcomes]),
                len(outcomes),
                sum(outcome.status == FAILED for outcome in outcomes),
                sum(outcome.status == BROKEN for outcome in outcomes),
                hash_file(path),
                self._counts(outcomes),
                version,
                tuple(end),
            )
            sync_folder(self.folder)
            self.manifest.add(entry)
            file = self._files.pop(shard, None)
            if file is not None:
                os.close(file)
            self._frames_path(shard).unlink(missing_ok=True)

    def finish(self, shards: int) -> None:
        """Remove what a longer, earlier input left behind `shards` shards."""
        with self._guarded("finish"):
            self.manifest.finish(shards)
            sync_folder(self.folder)
            for path in self.folder.iterdir():
                part = _PART.fullmatch(path.name)
                if part is not None and int(part[1]) >= shards:
                    path.unlink()

    def close(self) -> None:
        """Close the open files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _counts(self, outcomes: Sequence[Outcome[A]]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for outcome in outcomes:
            if outcome.answer is not None:
                counts.update(self.answers.counts(outcome.answer))
        return dict(counts)

    def _holds_answers(self, path: Path) -> bool:
        import pyarrow.parquet as pq

        with readable(path):
            return set(self.answers.columns()) <= set(pq.read_schema(path).names)

    def _sealed_path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:06d}.parquet"

    def _frames_path(self, shard: int) -> Path:
        return self.folder / f"part-{shard:06d}.frames"

    def _open_frames(self, shard: int) -> int:
        file = self._files.get(shard)
        if file is None:
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            file = self._files[shard] = os.open(self._frames_path(shard), flags, 0o644)
            sync_folder(self.folder)
        return file

    @contextmanager
    def _guarded(self, operation: str) -> Iterator[None]:
        with storage_errors(self.folder, operation):
            yield


@contextmanager
def open_journal(folder: Path, answers: AnswerFormat[A], shard_size: int = SHARD_SIZE) -> Iterator[Journal[A]]:
    """Open a job's journal for this process alone.

    Raises:
        BusyError: another process works on it.
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder, "open"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = locked(folder / "lock", where=folder)
        lock.__enter__()
    journal: Journal[A] | None = None
    try:
        with storage_errors(folder, "open"):
            journal = Journal(folder, answers, shard_size)
        yield journal
    finally:
        if journal is not None:
            journal.close()
        lock.__exit__(None, None, None)


def shard_key(keys: Sequence[str]) -> str:
    """Content hash of a shard's units."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def _frames(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Start, end and rows of every frame that is as it was written; one that is not is passed over."""
    start = 0
    while (start := data.find(_MAGIC, start)) >= 0:
        body = start + _HEADER.size
        _, length, checksum = _HEADER.unpack(data[start:body]) if body <= len(data) else (b"", len(data), 0)
        payload = data[body : body + length]
        if len(payload) != length or zlib.crc32(payload) != checksum:
            start += 1
            continue
        try:
            yield start, body + length, json.loads(zlib.decompress(payload))
        except (ValueError, zlib.error, RecursionError):
            LOG.warning("a frame holds no rows and is passed over")
        start = body + length
