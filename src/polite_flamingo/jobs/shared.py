"""Shared storage for a cluster whose nodes do not see this machine's files: any fsspec URL (``s3://``, ``gs://``, …).

The driver puts there what the work needs, by content: a model folder once, an image when a call first shows it. Workers
take it from there, models to a folder of their node, images to one of their own. Nothing is overwritten, so a changed
image or model is another object and old bytes are never used for it.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from polite_flamingo.errors import StorageError
from polite_flamingo.images import resolve_image
from polite_flamingo.io.files import replacing, set_aside
from polite_flamingo.io.hashes import OTHER_BYTES, fingerprint, hash_file

LOG = logging.getLogger(__name__)

COMPLETE = ".complete"  # written last into a published folder
KEPT_IMAGES = 4096  # images a worker keeps


@dataclass(frozen=True, slots=True)
class Shared:
    """A folder on shared storage.

    Args:
        url: fsspec URL; the credentials are those of its library (environment, instance role), never in the URL.
    """

    url: str

    def publish_folder(self, folder: Path) -> str:
        """Put a folder there unless it is there already; returns its name for `fetch_folder`."""
        name = f"models/{fingerprint(folder)}/{folder.name}"
        files, root = self._open()
        if not files.exists(f"{root}/{name}/{COMPLETE}"):
            LOG.info("%s goes to %s", folder, self.url)
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                self._put(files, path, f"{root}/{name}/{path.relative_to(folder).as_posix()}")
            files.pipe_file(f"{root}/{name}/{COMPLETE}", b"")
        return name

    def fetch_folder(self, name: str, cache: Path) -> Path:
        """Take a published folder to `cache`, once per node; several workers may ask at the same time.

        Its name holds the hash of its content: a copy that a disk has damaged is set aside and taken again.

        Raises:
            StorageError: it is not there, or not as it was published. Then the next run publishes it anew.
        """
        target = cache / PurePosixPath(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.parent / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if target.is_dir():
                if fingerprint(target) == target.parent.name:
                    return target
                set_aside(target, OTHER_BYTES)
            self._fetch(name, target)
        return target

    def _fetch(self, name: str, target: Path) -> None:
        files, root = self._open()
        scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=target.parent))
        staging = scratch / target.name
        staging.mkdir()
        try:
            for path in files.find(f"{root}/{name}"):
                below = path.removeprefix(f"{root}/{name}").lstrip("/")
                if below and below != COMPLETE:
                    (staging / below).parent.mkdir(parents=True, exist_ok=True)
                    files.get_file(path, str(staging / below))
            if not any(staging.iterdir()):
                raise StorageError("shared folder is missing", value=name, where=self.url, next_step="start again")
            if fingerprint(staging) != target.parent.name:
                self._withdraw(f"{name}/{COMPLETE}")
                raise StorageError(
                    "shared folder is not as it was published", value=name, where=self.url, next_step="start again"
                )
            staging.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def publish_images(self, root: Path, paths: Iterable[str]) -> dict[str, str]:
        """Put images there unless they are there already; returns the name of each."""
        return {path: _publish_image(self, root, path) for path in paths}

    def fetch_image(self, name: str, target: Path) -> None:
        """Take one image to `target`.

        Raises:
            StorageError: it is not as it was published. Then the next run publishes it anew.
        """
        files, root = self._open()
        with replacing(target) as part:
            files.get_file(f"{root}/{name}", str(part))
            if not hash_file(part).startswith(PurePosixPath(name).name):
                self._withdraw(name)
                raise StorageError(
                    "shared image is not as it was published", value=name, where=self.url, next_step="start again"
                )

    def _withdraw(self, name: str) -> None:
        """Have the next run publish something again."""
        files, root = self._open()
        LOG.warning("%s/%s is damaged and will be published again", self.url, name)
        files.rm_file(f"{root}/{name}")

    def _open(self) -> tuple[Any, str]:
        import fsspec

        try:
            files, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StorageError(
                "shared storage cannot be opened", value=str(error), where=self.url,
                next_step="install the library fsspec names (s3fs, gcsfs, …) on every node, or correct runtime.shared",
            ) from error  # fmt: skip
        return files, root.rstrip("/")

    @staticmethod
    def _put(files: Any, source: Path, target: str) -> None:
        files.makedirs(target.rpartition("/")[0], exist_ok=True)
        files.put_file(str(source), target)


@lru_cache(maxsize=8 * KEPT_IMAGES)
def _publish_image(shared: Shared, root: Path, path: str) -> str:
    file = resolve_image(root, path)
    name = f"images/{hash_file(file)[:40]}"
    files, top = shared._open()
    if not files.exists(f"{top}/{name}"):
        shared._put(files, file, f"{top}/{name}")
    return name


@dataclass(slots=True)
class ImageCache:
    """A worker's own image folder, filled from shared storage.

    Args:
        shared: Where images come from.
        root: The folder; made if it is None.
        keep: Images kept at most, those of the call at hand aside.
    """

    shared: Shared
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="polite-flamingo-images-")))
    keep: int = KEPT_IMAGES
    _held: dict[str, str] = field(default_factory=dict)  # path -> name, oldest first

    def fetch(self, names: Mapping[str, str]) -> None:
        """Make the named images available below the root and forget the oldest others."""
        for path, name in names.items():
            if self._held.pop(path, None) != name:
                self.shared.fetch_image(name, resolve_image(self.root, path))
            self._held[path] = name
        for path in list(self._held)[: max(0, len(self._held) - max(self.keep, len(names)))]:
            del self._held[path]
            resolve_image(self.root, path).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root, ignore_errors=True)
