"""Shared storage for a cluster whose nodes do not see this machine's files: any fsspec URL (``s3://``, ``gs://``, …).

The driver puts there what the work needs, by content: a model folder once, an image when a call first shows it. Workers
take it from there, models to a folder of their node, images to one of their own. Nothing is overwritten, so a changed
image or model is another object and old bytes are never used for it.
"""

from __future__ import annotations

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
from polite_flamingo.io import fingerprint, hash_file, replacing

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
        """Take a published folder to `cache`, once per node; several workers may ask at the same time."""
        target = cache / PurePosixPath(name)
        if target.is_dir():
            return target
        files, root = self._open()
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".fetching-", dir=target.parent))
        try:
            for path in files.find(f"{root}/{name}"):
                below = path.removeprefix(f"{root}/{name}").lstrip("/")
                if below and below != COMPLETE:
                    (staging / below).parent.mkdir(parents=True, exist_ok=True)
                    files.get_file(path, str(staging / below))
            if not any(staging.iterdir()):
                raise StorageError("shared folder is missing", value=name, where=self.url, next_step="start again")
            staging.chmod(0o755)
            try:
                staging.rename(target)
            except OSError:
                if not target.is_dir():  # another worker was faster
                    raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return target

    def publish_images(self, root: Path, paths: Iterable[str]) -> dict[str, str]:
        """Put images there unless they are there already; returns the name of each."""
        return {path: _publish_image(self, root, path) for path in paths}

    def fetch_image(self, name: str, target: Path) -> None:
        """Take one image to `target`."""
        files, root = self._open()
        with replacing(target) as part:
            files.get_file(f"{root}/{name}", str(part))

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
