"""The journal: what is done stays done, whatever happens to the process, the disk or the input.

A folder for one job. The input is cut into shards of a fixed number of units. While a shard is open, every finished
call is appended to ``part-000007.frames`` as one checksummed frame and fsynced; when its last unit is there, it is
sealed: written in input order to ``part-000007.parquet``, entered in ``manifest.jsonl`` (appended, fsynced), and its
frames are removed. So a kill at any instant costs the calls in flight; a torn last frame is cut off. Sealed shards hold
nothing about time, batches or workers and are therefore byte-identical however the job went.

Rows are found again by the content hash of their unit alone, so that work of other settings is never taken for this.

Why frames and not SQLite: both keep every finished call through kills, at the same processor time, but SQLite does not
check its pages, so that a flipped bit comes back as an answer; it takes 25 times the space, and its log wants a local
disk. ``python -m bench.bench_engine --journals`` compares them (docs/scoring.md).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic

from polite_flamingo.errors import DataError
from polite_flamingo.io import Row, hash_file, locked, read_shard, write_shard
from polite_flamingo.jobs.manifest import Manifest, SealedEntry
from polite_flamingo.jobs.outcomes import BROKEN, FAILED, AnswerFormat, Outcome
from polite_flamingo.jobs.questions import A
from polite_flamingo.jobs.storage import storage_errors

LOG = logging.getLogger(__name__)

SHARD_SIZE = 2048  # units per shard; part of the format of the result, independent of machine and batch
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
            LOG.warning("%s is missing or damaged and is made again", path)
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
        rows: dict[str, Row] = {}
        if self._sealed_path(shard).is_file():
            try:
                rows = {row["key"]: row for row in read_shard(self._sealed_path(shard))}
            except (DataError, KeyError) as error:
                LOG.warning("sealed shard is unusable and is made again: %s", error)
        frames = self._frames_path(shard)
        if frames.is_file():
            good = 0
            for end, appended in _frames(frames):
                rows.update((row["key"], row) for row in appended)
                good = end
            torn = frames.stat().st_size - good
            if torn:
                LOG.warning("%s: %d bytes of an unfinished append cut off", frames, torn)
                with self._guarded("cut"):
                    os.truncate(frames, good)
        outcomes: dict[str, Outcome[A]] = {}
        for key in set(keys) & rows.keys():
            with suppress(KeyError):
                outcomes[key] = self.answers.from_row(rows[key])
        return {key: outcome for key, outcome in outcomes.items() if outcome.status != FAILED}

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
            write_shard(path, [self.answers.to_row(outcome) for outcome in outcomes])
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
            _sync_folder(self.folder)
            self.manifest.add(entry)
            file = self._files.pop(shard, None)
            if file is not None:
                os.close(file)
            self._frames_path(shard).unlink(missing_ok=True)

    def finish(self, shards: int) -> None:
        """Remove what a longer, earlier input left behind `shards` shards."""
        with self._guarded("finish"):
            self.manifest.finish(shards)
            _sync_folder(self.folder)
            for path in [*self.folder.glob("part-[0-9]*.parquet"), *self.folder.glob("part-[0-9]*.frames")]:
                if int(path.stem.removeprefix("part-")) >= shards:
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
            _sync_folder(self.folder)
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


def _frames(path: Path) -> Iterator[tuple[int, list[Row]]]:
    """Rows of a file's whole frames with the offsets of their ends; stops before the first that is torn or damaged."""
    with open(path, "rb") as file:
        end = 0
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            magic, length, checksum = _HEADER.unpack(header)
            payload = file.read(length) if magic == _MAGIC else b""
            if len(payload) != length or magic != _MAGIC or zlib.crc32(payload) != checksum:
                return
            end += _HEADER.size + length
            yield end, json.loads(zlib.decompress(payload))


def _sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` survive a power cut."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
