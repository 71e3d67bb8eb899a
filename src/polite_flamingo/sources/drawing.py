"""Drawing the samples of a role: usable ones of every source, as many of each as the limits allow."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing
from pathlib import Path

from tqdm import tqdm

from polite_flamingo.draws import Smallest, key
from polite_flamingo.errors import ImageError
from polite_flamingo.images import open_image
from polite_flamingo.io.chunks import chunked
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources.quarantine import Quarantine
from polite_flamingo.sources.selection import Selection

WORK = Path(".work")
CHUNK = 256  # records whose images are decoded together
PENDING = 4096  # keys looked at together


class SampleReader:
    """Reads sources, checks ids and images of what they yield, and draws from it.

    Args:
        root: Data root, images are relative to it.
        pool: Threads that decode images.
        quarantine: Where rejects go.
        seed: Seed of the draw.
    """

    def __init__(self, root: Path, pool: Executor, quarantine: Quarantine, seed: int) -> None:
        self._root = root
        self._pool = pool
        self._quarantine = quarantine
        self._seed = seed
        self._images: dict[str, ImageError | None] = {}
        self._ids: set[bytes] = set()

    def draw(self, selections: Sequence[Selection], limit: int | None) -> Iterator[Sample]:
        """Yield at most `limit` usable samples of one role, spread evenly over its sources, in official order.

        Which samples of a source are drawn depends on the seed and their ids alone: another source only changes how
        many. Without a limit everything streams; with one, the samples lie on the disk, and of no more than `limit` per
        source their keys are in memory.
        """
        if limit is None:
            for selection in selections:
                yield from map(selection.counts.keep, self._limited(selection, selection.spec.limit))
            return
        with ExitStack() as open_files:
            drawn = [
                open_files.enter_context(closing(_Drawn(self._seed, _least(limit, s.spec.limit)))) for s in selections
            ]
            for selection, samples in zip(selections, drawn, strict=True):
                for sample in self._usable(selection):
                    samples.add(sample)
            for selection, samples, quota in zip(selections, drawn, spread([*map(len, drawn)], limit), strict=True):
                yield from map(selection.counts.keep, samples.smallest(quota))

    def _limited(self, selection: Selection, limit: int | None) -> Iterator[Sample]:
        if limit is None:
            yield from self._usable(selection)
            return
        with closing(_Drawn(self._seed, limit)) as drawn:
            for sample in self._usable(selection):
                drawn.add(sample)
            yield from drawn.smallest(limit)

    def _usable(self, selection: Selection) -> Iterator[Sample]:
        spec, counts = selection.spec, selection.counts
        found = selection.reader.read(self._root, spec.folder, spec.split, seed=self._seed)
        rows = (row for row in found if isinstance(row, Reject) or selection.concerns(row))
        with tqdm(desc=f"{spec.name} {spec.split}", unit="rec", mininterval=1.0) as bar:
            for chunk in chunked(rows, CHUNK):
                self._decode(chunk)
                for item in chunk:
                    counts.read += 1
                    reject = item if isinstance(item, Reject) else self._reason(item)
                    if reject is not None:
                        counts.rejected += 1
                        self._quarantine.add(reject)
                    elif isinstance(item, Sample):
                        yield from selection.taken(item)
                bar.update(len(chunk))

    def _decode(self, chunk: Sequence[Sample | Reject]) -> None:
        paths = {image.path for item in chunk if isinstance(item, Sample) for image in item.images}
        fresh = sorted(paths - self._images.keys())
        self._images.update(zip(fresh, self._pool.map(self._open, fresh), strict=True))

    def _open(self, path: str) -> ImageError | None:
        try:
            open_image(self._root, path).close()
        except ImageError as error:
            return ImageError(error.what, value=error.value)  # without the traceback, which holds the image
        return None

    def _reason(self, sample: Sample) -> Reject | None:
        for image in sample.images:
            error = self._images[image.path]
            if error is not None:
                value = "" if error.value in (None, image.path) else str(error.value)
                return Reject(sample.source, image.path, sample.id, error.what, value)
        digest = hashlib.sha256(sample.id.encode()).digest()[:12]
        if digest in self._ids:
            return Reject(sample.source, "", sample.id, "id was read before")
        self._ids.add(digest)
        return None


class _Drawn:
    """The samples with the smallest keys, in a file without a name, of which a killed process leaves nothing.

    One that was drawn and then had to make room stays in the file, which so holds a few times `limit`.

    Args:
        seed: Of the draw.
        limit: Samples at most.
    """

    def __init__(self, seed: int, limit: int) -> None:
        WORK.mkdir(exist_ok=True)
        self._seed = seed
        self._file = tempfile.TemporaryFile(dir=WORK)  # noqa: SIM115 - closed by `close`
        self._smallest = Smallest(limit)  # of the keys, each with its sample's place in the file
        self._keys: list[int] = []  # of the last samples
        self._places: list[int] = []

    def __len__(self) -> int:
        self._look()
        return len(self._smallest)

    def add(self, sample: Sample) -> None:
        """Draw a sample, if its key may be among the smallest."""
        its_key = key(name_of(sample.id, self._seed))
        if its_key > self._smallest.ceiling:
            return
        self._keys.append(its_key)
        self._places.append(self._file.seek(0, os.SEEK_END))
        self._file.write(json.dumps(sample.to_row(), separators=(",", ":")).encode() + b"\n")
        if len(self._keys) == PENDING:
            self._look()

    def smallest(self, limit: int) -> Iterator[Sample]:
        """The `limit` samples with the smallest keys, in their order of arrival."""
        self._look()
        for place in self._smallest.numbers(limit):
            self._file.seek(place)
            yield Sample.from_row(json.loads(self._file.readline()))

    def close(self) -> None:
        """Free the disk."""
        self._file.close()

    def _look(self) -> None:
        self._smallest.add(self._keys, self._places)
        self._keys, self._places = [], []


def name_of(sample_id: str, seed: int) -> str:
    """What a sample is called in the draw of a role."""
    return f"{seed}:{sample_id}:draw"


def _least(limit: int, other: int | None) -> int:
    return limit if other is None else min(limit, other)


def spread(available: Sequence[int], limit: int) -> list[int]:
    """Share `limit` as evenly as `available` allows; what a small source cannot fill goes to the others.

    >>> spread([100, 5, 100], 45)
    [20, 5, 20]
    """
    quotas = [0] * len(available)
    left = min(limit, sum(available))
    while left:
        unfilled = [i for i, count in enumerate(available) if quotas[i] < count]
        share = max(left // len(unfilled), 1)
        for index in unfilled[:left]:
            taken = min(share, available[index] - quotas[index])
            quotas[index] += taken
            left -= taken
    return quotas
