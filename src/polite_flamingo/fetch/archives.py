"""Unpacking zip and tar archives that may be hostile: nothing outside the folder, no links, no flood."""

from __future__ import annotations

import errno
import logging
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from polite_flamingo.errors import DataError
from polite_flamingo.fetch.transfer import BLOCK, DiskFullError
from polite_flamingo.io.files import replacing

LOG = logging.getLogger(__name__)

RATIO = 200  # unpacked bytes per packed byte; repetitive JSON reaches some tens
ALLOWANCE = 64 << 20  # bytes any archive may unpack to
EMPTY_FILES = 1000  # that no data set needs
IGNORED = frozenset({"__MACOSX", ".DS_Store"})


def unpack(archive: Path, folder: Path, *, limit: int | None = None, kept: Collection[Path] = ()) -> list[str]:
    """Unpack a zip or tar archive (also .gz, .bz2, .xz) into `folder`; files that are there are replaced.

    Links and devices are left out with a warning.

    Args:
        archive: The archive, told by its content.
        folder: Where to.
        limit: Largest sum of unpacked bytes; by default `RATIO` times the archive's size.
        kept: Files that it may not replace.

    Returns:
        Names of what the archive holds at its top.

    Raises:
        DataError: no archive, broken, a name that leads out of `folder` or to a file that is kept, more bytes than
            `limit`, or a flood of empty files.
    """
    from tqdm import tqdm

    left = RATIO * archive.stat().st_size + ALLOWANCE if limit is None else limit
    base = folder.resolve()
    kept = {path.resolve() for path in kept}
    empty = 0
    tops: dict[str, None] = {}
    with _as_data_errors(archive):
        for name, stream in tqdm(_members(archive), desc=f"unpack {archive.name}", unit="file", mininterval=1.0):
            parts = _safe_parts(name, archive)
            if not parts or IGNORED & set(parts):
                continue
            target = folder.joinpath(*parts)
            if not target.parent.resolve().is_relative_to(base) or target.is_symlink():
                raise DataError("archive would write through a link", value=name, where=archive)
            if target.resolve() in kept or target.name.endswith((".part", ".part.json")):
                raise DataError("archive would replace a file that it does not hold", value=name, where=archive)
            before, left = left, _write(stream, target, left, archive)
            empty += left == before
            if empty > EMPTY_FILES:
                raise DataError(f"archive holds more than {EMPTY_FILES} empty files", where=archive)
            tops.setdefault(parts[0])
    return list(tops)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is not None:
                    yield member.name, stream
                elif not member.isdir():
                    LOG.warning("%s: %s is a link or device, left out", archive.name, member.name)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    LOG.warning("%s: %s is a link, left out", archive.name, info.filename)
                elif not info.is_dir():
                    with packed.open(info) as stream:
                        yield info.filename, stream
    else:
        raise DataError("file is neither a zip nor a tar archive", where=archive, next_step="delete it, fetch it again")


def _safe_parts(name: str, archive: Path) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError("archive holds a path outside its folder", value=name, where=archive)
    return path.parts


def _write(stream: IO[bytes], target: Path, left: int, archive: Path) -> int:
    with replacing(target, durable=False) as unfinished, open(unfinished, "wb") as file:
        while block := stream.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise DataError("archive unpacks to far more than its size suggests", value=target.name, where=archive)
            file.write(block)
    return left


@contextmanager
def _as_data_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(archive) from error
        raise DataError(
            "archive cannot be unpacked", value=str(error), where=archive, next_step="delete it and fetch it again"
        ) from error
