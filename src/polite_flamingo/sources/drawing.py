"""Drawing the samples of a role: usable ones of every source, as many of each as the limits allow."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from tqdm import tqdm

from polite_flamingo.errors import ImageError
from polite_flamingo.images import open_image
from polite_flamingo.io import chunked
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources.quarantine import Quarantine
from polite_flamingo.sources.selection import Selection

CHUNK = 256  # records whose images are decoded together


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
        many. Without a limit everything streams; with one, no more than `limit` samples per source are held.
        """
        if limit is None:
            for selection in selections:
                yield from map(selection.counts.keep, self._limited(selection, selection.spec.limit))
            return
        held = [list(self._limited(s, limit if s.spec.limit is None else min(limit, s.spec.limit))) for s in selections]
        quotas = spread([len(samples) for samples in held], limit)
        for selection, samples, quota in zip(selections, held, quotas, strict=True):
            yield from map(selection.counts.keep, self._smallest(samples, quota))

    def _limited(self, selection: Selection, limit: int | None) -> Iterator[Sample]:
        usable = self._usable(selection)
        return usable if limit is None else iter(self._smallest(usable, limit))

    def _smallest(self, samples: Iterable[Sample], limit: int) -> list[Sample]:
        """The `limit` samples with the smallest keys, in their order of arrival; holds no more than those."""
        heap: list[tuple[int, int, Sample]] = []  # smallest first, so keys are negated: the root is the worst one held
        for order, sample in enumerate(samples):
            digest = hashlib.sha256(f"{self._seed}:{sample.id}:draw".encode()).digest()
            entry = (-int.from_bytes(digest[:16]), order, sample)
            if len(heap) < limit:
                heapq.heappush(heap, entry)
            elif limit:
                heapq.heappushpop(heap, entry)
        return [sample for _, _, sample in sorted(heap, key=lambda entry: entry[1])]

    def _usable(self, selection: Selection) -> Iterator[Sample]:
        spec, counts = selection.spec, selection.counts
        rows = selection.reader.read(self._root, spec.folder, spec.split, seed=self._seed)
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
                        yield item
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
        key = hashlib.sha256(sample.id.encode()).digest()[:12]
        if key in self._ids:
            return Reject(sample.source, "", sample.id, "id was read before")
        self._ids.add(key)
        return None


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
