"""WebDataset: tar files with the members of a record beside each other."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from polite_flamingo.errors import DataError
from polite_flamingo.export.images import image_bytes
from polite_flamingo.records import Sample
from polite_flamingo.sources.readers.webdataset import SUFFIXES

SHARD_RECORDS = 10_000
SHARD_BYTES = 1024 * 1024 * 1024


class TarWriter:
    """Files ``pf1m-000000.tar`` …; equal records give equal bytes.

    Keys count the records, because ids hold slashes and dots; the id is in the JSON.

    Args:
        folder: Folder of the export.
        root: Data root the images are read from.
        shard_records: Records after which the next file begins.
        shard_bytes: Bytes after which the next file begins.
    """

    def __init__(
        self, folder: Path, root: Path, shard_records: int = SHARD_RECORDS, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._folder = folder
        self._root = root
        self._limits = (shard_records, shard_bytes)
        self._tar: tarfile.TarFile | None = None
        self._count = 0
        self._shards = 0
        self._in_shard = (0, 0)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._open()
        return self

    def append(self, record: Mapping[str, Any], sample: Sample) -> None:
        """Write one record, the response alone, and the images.

        Raises:
            DataError: an image is missing, or its name does not say what it is.
        """
        suffixes = [PurePosixPath(image.path).suffix.lstrip(".").lower() for image in sample.images]
        strange = [image.path for image, suffix in zip(sample.images, suffixes, strict=True) if suffix not in SUFFIXES]
        if strange:
            raise DataError("image has an unknown extension", value=strange[0])
        data = image_bytes(self._root, sample)
        records, size = self._in_shard
        if records >= self._limits[0] or size >= self._limits[1]:
            self._close()
            self._open()
            records, size = 0, 0
        names = suffixes if len(suffixes) == 1 else [f"{index}.{suffix}" for index, suffix in enumerate(suffixes)]
        text = json.dumps(record, ensure_ascii=False)
        members = [("json", text.encode()), ("txt", sample.response.encode()), *zip(names, data, strict=True)]
        for name, content in members:
            self._add(f"{self._count:09d}.{name}", content)
            size += len(content)
        self._in_shard = (records + 1, size)
        self._count += 1

    def _add(self, name: str, content: bytes) -> None:
        assert self._tar is not None
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))
        self._tar.members = []  # type: ignore[attr-defined]  # it would keep all of them

    def _open(self) -> None:
        path = self._folder / f"pf1m-{self._shards:06d}.tar"
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by _close
        self._shards += 1

    def _close(self) -> None:
        assert self._tar is not None
        path = Path(str(self._tar.name))
        self._tar.close()
        with open(path, "rb") as file:
            os.fsync(file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
