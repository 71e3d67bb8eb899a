"""Stage `download`: official files to samples, with every unusable row in quarantine.

In the embedded world the official files are rendered first. Otherwise they stay where they are and a manifest of their
sizes and hashes stands for them.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from polite_flamingo.errors import DataError, ImageError
from polite_flamingo.images import open_image
from polite_flamingo.io import chunked, hash_file, write_json, write_shards
from polite_flamingo.params import DATA_ROOT_VARIABLE, Params, SourceSpec
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import load_source
from polite_flamingo.sources.base import Source
from polite_flamingo.sources.counts import warn_of_count
from polite_flamingo.sources.quarantine import Quarantine
from polite_flamingo.tracking.base import Tracker

ROLES = ("instruction", "annotation", "evaluation")
CHUNK = 256  # records whose images are decoded together
_log = logging.getLogger(__name__)


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Render or list the official files, read every source, draw the records of each role.

    Writes ``data/P/raw``, ``data/P/samples/{instruction,annotation,evaluation}``, ``data/P/samples/quarantine.jsonl``
    and ``reports/P/download.json``.

    Args:
        params: Resolved parameters.
        tracker: Gets the counts.

    Returns:
        What the report holds: ``read``, ``rejected``, ``rejected_share``, ``kept`` per role, ``licences`` and ``tasks``
        of what was kept, ``without_image`` (kept samples whose picture is not at hand) and a row per source.

    Raises:
        DataError: the data root or an annotation file is unusable, a source yields nothing, or more than
            ``quality.max_rejected_share`` of the rows were rejected; the quarantine file is written before.
    """
    readers = [(spec, load_source(spec.name)) for spec in params.sources]
    if params.world is not None:
        _render(params)
    else:
        write_manifest(params.image_root, _folders(params.image_root, readers), params.data / "raw" / "manifest.json")

    out = params.data / "samples"
    staging = out.with_name(".samples.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    counts = [Counts() for _ in readers]
    threads = params.runtime.threads
    with ThreadPoolExecutor(threads) as pool, open(staging / "quarantine.jsonl", "w", encoding="utf-8") as file:
        quarantine = Quarantine(file)
        checker = Checker(params.image_root, pool, quarantine, params.seed)
        for role in ROLES:
            chosen = [(s, r, c) for (s, r), c in zip(readers, counts, strict=True) if s.role == role]
            rows = (sample.to_row() for sample in checker.draw(chosen, getattr(params.limits, role)))
            write_shards(staging / role, rows)

    if params.world is None:  # the embedded world has the official names, not the official size
        for (spec, _), count in zip(readers, counts, strict=True):
            warn_of_count(spec.name, spec.split, count.read)
    report = _summary(readers, counts)
    problem = _problem(readers, counts, report, params.quality.max_rejected_share)
    if problem is not None:
        for role in ROLES:
            shutil.rmtree(staging / role)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(staging, out)
    if problem is not None:
        raise DataError(
            problem + "".join(f"\n    {line}" for line in quarantine.first),
            where=out / "quarantine.jsonl",
            next_step="mend or drop these rows, or raise quality.max_rejected_share",
        )
    write_json(params.reports / "download.json", report)
    tracker.metrics({"read": report["read"], "rejected": report["rejected"], **_flat("kept", report["kept"])})
    _log.info("read %d rows, rejected %d, kept %s", report["read"], report["rejected"], report["kept"])
    return report


@dataclass
class Counts:
    """Rows of one source."""

    read: int = 0
    rejected: int = 0
    kept: int = 0
    without_image: int = 0
    tasks: Counter[str] = field(default_factory=Counter)


class Checker:
    """Checks ids and images of what readers yield and draws from it.

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

    def draw(self, sources: Sequence[tuple[SourceSpec, Source, Counts]], limit: int | None) -> Iterator[Sample]:
        """Yield at most `limit` usable samples of one role, spread evenly over its sources, in official order.

        Which samples of a source are drawn depends on the seed and their ids alone: another source only changes how
        many. Without a limit everything streams; with one, no more than `limit` samples per source are held.
        """
        if limit is None:
            for spec, reader, counts in sources:
                for sample in self._limited(spec, reader, counts, spec.limit):
                    yield _count(counts, sample)
            return
        held = [
            list(self._limited(spec, reader, counts, limit if spec.limit is None else min(limit, spec.limit)))
            for spec, reader, counts in sources
        ]
        for (_, _, counts), samples, quota in zip(sources, held, spread([len(s) for s in held], limit), strict=True):
            for sample in self._smallest(samples, quota):
                yield _count(counts, sample)

    def _limited(self, spec: SourceSpec, reader: Source, counts: Counts, limit: int | None) -> Iterator[Sample]:
        usable = self._usable(spec, reader, counts)
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

    def _usable(self, spec: SourceSpec, reader: Source, counts: Counts) -> Iterator[Sample]:
        rows = reader.read(self._root, spec.folder, spec.split, seed=self._seed)
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


def write_manifest(root: Path, folders: Iterable[str], path: Path) -> list[dict[str, Any]]:
    """List every file below the `folders` of `root` with size in bytes and SHA-256, sorted by path.

    Hidden files are left out. Links count as what they point to, as long as that lies below `root`.

    Raises:
        DataError: `root` or one of the folders does not exist.
    """
    hint = f"set {DATA_ROOT_VARIABLE} or pass --data-root"
    if not root.is_dir():
        raise DataError("the data root does not exist", value=str(root), next_step=hint)
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        raise DataError("the data root lacks dataset folders", value=missing, where=root, next_step=hint)
    base = root.resolve()
    found = {
        file.relative_to(root).as_posix(): file
        for folder in folders
        for file in (root / folder).rglob("*")
        if file.is_file() and not file.name.startswith(".") and file.resolve().is_relative_to(base)
    }
    rows = [
        {"path": name, "size": found[name].stat().st_size, "sha256": hash_file(found[name])}
        for name in tqdm(sorted(found), desc="manifest", unit="file", mininterval=1.0)
    ]
    write_json(path, rows)
    return rows


def _folders(root: Path, readers: Sequence[tuple[SourceSpec, Source]]) -> list[str]:
    siblings = {name for _, reader in readers for name in reader.siblings if (root / name).is_dir()}
    return sorted({spec.folder for spec, _ in readers} | siblings)


def _render(params: Params) -> None:
    from polite_flamingo.world.scenes import render

    assert params.world is not None
    raw = params.data / "raw"
    staging = raw.with_name(".raw.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    render(staging, params.world.scenes.model_dump(), params.world.image_size, params.seed)
    shutil.rmtree(raw, ignore_errors=True)
    os.replace(staging, raw)


def _count(counts: Counts, sample: Sample) -> Sample:
    counts.kept += 1
    counts.tasks[str(sample.task)] += 1
    counts.without_image += bool(sample.extras.get("image_missing"))
    return sample


def _summary(readers: Sequence[tuple[SourceSpec, Source]], counts: Sequence[Counts]) -> dict[str, Any]:
    licences: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    kept = dict.fromkeys(ROLES, 0)
    rows = []
    for (spec, reader), count in zip(readers, counts, strict=True):
        kept[spec.role] += count.kept
        tasks.update(count.tasks)
        if count.kept:
            licences[reader.licence] += count.kept
        rows.append(
            {
                "name": spec.name,
                "folder": spec.folder,
                "split": spec.split,
                "role": spec.role,
                "licence": reader.licence,
                "read": count.read,
                "rejected": count.rejected,
                "kept": count.kept,
                "without_image": count.without_image,
            }
        )
    read, rejected = sum(c.read for c in counts), sum(c.rejected for c in counts)
    return {
        "read": read,
        "rejected": rejected,
        "rejected_share": round(rejected / read, 6) if read else 0.0,
        "kept": kept,
        "licences": dict(licences),
        "tasks": dict(tasks),
        "without_image": sum(c.without_image for c in counts),
        "sources": rows,
    }


def _problem(
    readers: Sequence[tuple[SourceSpec, Source]],
    counts: Sequence[Counts],
    report: Mapping[str, Any],
    max_rejected_share: float,
) -> str | None:
    for (spec, _), count in zip(readers, counts, strict=True):
        if count.read == count.rejected:
            return f"source {spec.name!r} ({spec.folder}, split {spec.split}) yields no usable row of {count.read}"
    if report["rejected_share"] > max_rejected_share:
        return (
            f"{report['rejected']} of {report['read']} rows were rejected, a share of {report['rejected_share']:.3f} "
            f"(quality.max_rejected_share is {max_rejected_share})"
        )
    return None


def _flat(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}.{key}": value for key, value in values.items()}
