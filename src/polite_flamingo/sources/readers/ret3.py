"""RET-3: the remote-sensing captioning sets RSICD, RSITMD and UCM-captions, all in the Karpathy form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import below
from polite_flamingo.sources.forms.captions import karpathy_samples
from polite_flamingo.sources.forms.files import find_all
from polite_flamingo.sources.forms.paths import first_existing


class _RemoteSensing:
    """One sample per image with its different captions in the raw answer (Table 6, row RET-3).

    Where an image had fewer than five captions the authors repeated some; the repeats are left out. Upper and lower
    case of file and folder names vary between copies of the data and are not told apart.
    """

    name: str
    files: Sequence[str]
    folders: Sequence[str]
    tasks = frozenset({Task.CAPTION})
    licence = "none stated"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the annotation file; `split` is as its items name it (``train``, ``val``, ``test``) or ``all``."""
        listed = {file.name.lower(): file for file in find_all(root, folder, "*.json", "*.JSON")}
        file = next((listed[name] for name in self.files if name in listed), None)
        if file is None:
            raise DataError(
                "no annotation file found",
                value=list(self.files),
                where=root / folder,
                next_step="put the official file there",
            )
        subfolders = {path.name.lower(): path for path in (root / folder).iterdir() if path.is_dir()}
        held = next((subfolders[name] for name in self.folders if name in subfolders), None)
        images = f"{folder}/{self.folders[0] if held is None else held.name}"
        actual = {} if held is None else {path.name.lower(): path.name for path in held.iterdir()}

        def locate(name: str) -> Image:
            return first_existing(root, [below(images, name), below(images, actual.get(name.lower(), name))])

        yield from karpathy_samples(self, root, file, split, locate, seed, distinct=True)


class Rsicd(_RemoteSensing):
    """RSICD: ``dataset_rsicd.json``, images in ``RSICD_images``."""

    name = "rsicd"
    files = ("dataset_rsicd.json",)
    folders = ("rsicd_images", "images")


class Rsitmd(_RemoteSensing):
    """RSITMD: ``dataset_RSITMD.json``, images in ``images``; it has no split ``val``."""

    name = "rsitmd"
    files = ("dataset_rsitmd.json",)
    folders = ("images",)


class Ucm(_RemoteSensing):
    """UCM-captions: ``dataset.json``, images in ``imgs``."""

    name = "ucm"
    files = ("dataset.json", "dataset_ucm.json", "dataset_ucmd.json")
    folders = ("imgs", "images")
