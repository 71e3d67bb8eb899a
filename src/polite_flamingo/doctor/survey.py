"""Every image file of a data root examined, in several processes; killed at any instant, it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TextIO

from polite_flamingo.doctor.examine import ImageFacts, examine
from polite_flamingo.errors import DataError
from polite_flamingo.images import IMAGE_FORMATS
from polite_flamingo.io.chunks import chunked

DERIVED = "derived"  # pictures the readers draw themselves, each a near copy of its source
CHUNK = 32  # files a process gets at once, and those examined again at most after a kill
AHEAD = 4  # chunks handed out per process before the first one is waited for
LOG = logging.getLogger(__name__)


def list_images(root: Path, start: str = ".") -> Iterator[str]:
    """Paths of the files with an image's ending below ``root/start``, sorted folder by folder.

    Hidden files and the folder of derived images are passed over. Linked folders are not entered: one inside the root
    is listed at its own place, one that leads out is yielded itself, because no reader may follow it.

    Args:
        root: Resolved folder the paths are relative to.
        start: Folder below `root` to begin in.
    """
    for folder, names, files in os.walk(root / start):
        here = Path(folder)
        for name in sorted(names):
            link = here / name
            if link.is_symlink() and not link.resolve().is_relative_to(root):
                yield link.relative_to(root).as_posix()
        hidden = {name for name in names if name.startswith(".") or (here == root and name == DERIVED)}
        names[:] = sorted(set(names) - hidden)
        for name in sorted(files):
            if Path(name).suffix.lower() in IMAGE_FORMATS and not name.startswith("."):
                yield (here / name).relative_to(root).as_posix()


def survey(root: Path, paths: Iterable[str], *, results: Path, workers: int) -> tuple[list[ImageFacts], int]:
    """Examine files, except those that `results` holds already with the same size and time of change.

    Args:
        root: Resolved data root.
        paths: Below `root`, or absolute.
        results: File of what was examined, a checksum and JSON a line; only ever appended to.
        workers: Processes; with 1 the files are examined in this one.

    Returns:
        What was found, in the order of `paths`, and how many files were examined now.

    Raises:
        DataError: `results` cannot be read or written.
    """
    from tqdm import tqdm

    unique = list(dict.fromkeys(paths))
    known = {row.path: row for row in _load(results)}
    fresh = [path for path in unique if path not in known or not _unchanged(root, known[path])]
    if len(fresh) < len(unique):
        LOG.info("%d of %d images were examined before (%s)", len(unique) - len(fresh), len(unique), results)
    with _appending(results) as file, tqdm(total=len(fresh), desc="doctor", unit="img", mininterval=1.0) as bar:
        for chunk in _examined(root, fresh, workers):
            file.write("".join(map(_line, chunk)))
            file.flush()
            known.update((row.path, row) for row in chunk)
            bar.update(len(chunk))
    return [known[path] for path in unique], len(fresh)


def results_file(out: Path, root: Path) -> Path:
    """Where the results of a data root are kept below `out`: one file per root."""
    return out / "results" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:12]}.jsonl"


def _unchanged(root: Path, row: ImageFacts) -> bool:
    try:
        stat = (root / row.path).stat()
    except OSError:
        return False
    return row.problem not in ("outside", "missing") and (row.size, row.modified) == (stat.st_size, stat.st_mtime_ns)


def _line(row: ImageFacts) -> str:
    text = json.dumps(row.to_row())  # names that are no UTF-8 as well
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _load(results: Path) -> Iterator[ImageFacts]:
    """What was examined; a line that a kill cut off or a disk changed is none."""
    if not results.is_file():
        return
    with open(results, "rb") as file:
        for line in file:
            checksum, _, text = line.rstrip(b"\n").partition(b" ")
            if checksum == b"%08x" % zlib.crc32(text):
                row = ImageFacts.from_row(json.loads(text))
                if row is not None:
                    yield row


def _appending(results: Path) -> TextIO:
    try:
        results.parent.mkdir(parents=True, exist_ok=True)
        with open(results, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a kill cut the last line off; it ends here, the next one starts afresh
                    file.write(b"\n")
        return open(results, "a", encoding="utf-8")
    except OSError as error:
        raise DataError(
            "results cannot be written", value=str(error), where=results, next_step="give another --out"
        ) from None


def _examined(root: Path, paths: Sequence[str], workers: int) -> Iterator[list[ImageFacts]]:
    chunks = chunked(paths, CHUNK)
    if workers == 1:
        for chunk in chunks:
            yield _examine_all(root, chunk)
        return
    lost: deque[list[str]] = deque([[]])
    while lost:
        lost = deque()
        futures: deque[Future[list[ImageFacts]]] = deque()
        with _pool(workers) as pool:
            try:
                for chunk in chunks:
                    lost.append(chunk)
                    futures.append(pool.submit(_examine_all, root, chunk))
                    if len(futures) > AHEAD * workers:
                        yield futures.popleft().result()
                        lost.popleft()
                while futures:
                    yield futures.popleft().result()
                    lost.popleft()
            except BrokenProcessPool:
                LOG.warning("a decoder took its process down, looking for the file that did it")
            finally:
                pool.shutdown(cancel_futures=True)
        for chunk in lost:
            yield _examine_apart(root, chunk)


def _examine_all(root: Path, paths: Sequence[str]) -> list[ImageFacts]:
    return [examine(root, path) for path in paths]


def _examine_apart(root: Path, paths: Sequence[str]) -> list[ImageFacts]:
    with _pool(1) as pool:
        try:
            return pool.submit(_examine_all, root, paths).result()
        except BrokenProcessPool:
            if len(paths) > 1:
                half = len(paths) // 2
                return _examine_apart(root, paths[:half]) + _examine_apart(root, paths[half:])
    stat = (root / paths[0]).stat()
    return [ImageFacts(paths[0], stat.st_size, stat.st_mtime_ns, problem="broken", detail="crashes its decoder")]


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
