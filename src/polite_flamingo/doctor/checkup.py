"""The whole check-up: files listed, examined, judged, compared; a report, and the bad ones in quarantine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.doctor.examine import ImageFacts
from polite_flamingo.doctor.findings import (
    BAD,
    KINDS,
    MIN_SIDE,
    Finding,
    Group,
    copies,
    judge,
    missing_images,
    overlaps,
)
from polite_flamingo.doctor.survey import list_images, results_file, survey
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.io.locks import locked
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import write_json, write_jsonl
from polite_flamingo.records import Image, Reject

EXAMPLES = 3  # examples of a kind in the table


def check_up(
    root: Path,
    *,
    out: Path,
    evaluation: Sequence[str] = (),
    samples: Path | None = None,
    workers: int = 1,
    min_side: int = MIN_SIDE,
) -> dict[str, Any]:
    """Examine every image below a data root.

    Writes ``report.json`` and ``quarantine.jsonl`` to `out`; what was examined is kept there too, so that a second run
    looks at new and changed files only. No image is moved or changed.

    Args:
        root: Data root.
        out: Folder of the report.
        evaluation: Folders of evaluation images, below `root` or anywhere; the other images count as training images.
        samples: Folder of sample shards; images that its samples name and that are not there are missing.
        workers: Processes.
        min_side: Pixels below which a side makes an image tiny.

    Returns:
        The report: ``root``, ``images``, ``evaluation_images``, ``bytes``, ``examined`` (now, not from an earlier run),
        ``seconds``, ``images_per_second``, ``bad`` (images in quarantine), ``counts`` per kind, ``formats``, a row per
        folder, all ``findings`` and the groups of copies.

    Raises:
        ConfigError: a folder does not exist or `workers` is not positive.
        DataError: the results or the samples cannot be read, or there is no image.
    """
    _check_arguments(root, workers)
    base = root.resolve()
    held_out = [_evaluation_folder(base, folder) for folder in evaluation]
    named = {} if samples is None else _images_of_samples(samples)
    started = time.monotonic()
    with locked(out / "lock", where=out):
        paths = [*list_images(base), *(path for path in named if (base / path).is_file())]
        paths += _images_elsewhere(base, held_out)
        if not paths and not named:
            raise DataError("no image lies here", where=base, next_step="give the folder that holds the images")
        images, examined = survey(base, paths, results=results_file(out, base), workers=workers)
        seconds = time.monotonic() - started
        tested = [image for image in images if any((base / image.path).is_relative_to(folder) for folder in held_out)]
        findings, groups = _judge_all(images, tested, min_side)
        findings = [_with_sample(finding, named) for finding in [*findings, *missing_images(base, named, images)]]
        findings.sort(key=lambda finding: (list(KINDS).index(finding.kind), finding.path))
        report = {
            "root": str(base),
            "images": len(images),
            "evaluation_images": len(tested),
            "bytes": sum(image.size for image in images),
            "examined": examined,
            "seconds": round(seconds, 2),
            "images_per_second": round(examined / seconds, 1) if examined and seconds else None,
            **_summary(images, findings, groups),
        }
        write_json(out / "report.json", report)
        write_jsonl(out / "quarantine.jsonl", (_reject(f).to_row() for f in findings if f.kind in BAD))
    return report


def render(report: Mapping[str, Any]) -> str:
    """The report as a table: a line per kind of finding with its first images, and a line per folder."""
    speed = f", {report['images_per_second']} images/s" if report["images_per_second"] else ""
    lines = [
        f"{report['images']} images ({report['bytes'] / 1e6:.1f} MB) below {report['root']}; "
        f"{report['examined']} examined now in {report['seconds']} s{speed}",
        "",
        f"{'finding':<16}{'images':>8}  {'what it means':<48}first ones",
    ]
    first: dict[str, list[str]] = {}
    for row in report["findings"]:
        examples = first.setdefault(row["kind"], [])
        if len(examples) < EXAMPLES:
            examples.append(row["path"])
    for kind, meaning in KINDS.items():
        count = report["counts"].get(kind, 0)
        if count:
            lines.append(f"{kind:<16}{count:>8}  {meaning:<48}{', '.join(first[kind])}")
    if not report["counts"]:
        lines.append("nothing found")
    lines += ["", f"{'folder':<32}{'images':>8}{'findings':>10}{'bad':>8}"]
    lines += [f"{r['folder']:<32}{r['images']:>8}{r['findings']:>10}{r['bad']:>8}" for r in report["folders"]]
    lines += ["", f"{report['bad']} images in quarantine"]
    return "\n".join(lines)


def _judge_all(
    images: Sequence[ImageFacts], tested: Sequence[ImageFacts], min_side: int
) -> tuple[list[Finding], list[Group]]:
    """Findings of the images by themselves and beside each other, and the groups of copies on either side."""
    held_out = {image.path for image in tested}
    training = [image for image in images if image.path not in held_out]
    groups = [*copies(training), *copies(tested)]
    findings = [finding for image in images for finding in judge(image, min_side)]
    findings += overlaps(training, tested)
    findings += [Finding(g.kind, path, g.paths[0]) for g in groups for path in g.paths[1:]]
    return findings, groups


def _check_arguments(root: Path, workers: int) -> None:
    if not root.is_dir():
        raise ConfigError(
            "data root is no folder", value=str(root), next_step="give the folder that holds the datasets"
        )
    if workers < 1:
        raise ConfigError("at least one process is needed", value=workers, where="--workers")


def _images_elsewhere(base: Path, folders: Sequence[Path]) -> list[str]:
    """Images of the folders that do not lie below `base`."""
    outside = [folder for folder in folders if not folder.is_relative_to(base)]
    return [str(folder / path) for folder in outside for path in list_images(folder)]


def _evaluation_folder(base: Path, folder: str) -> Path:
    for candidate in (base / folder, Path(folder).expanduser()):
        if candidate.is_dir():
            return candidate.resolve()
    raise ConfigError(
        "folder of evaluation images does not exist",
        value=folder,
        where="--evaluation",
        next_step=f"name a folder below {base} or anywhere else",
    )


def _images_of_samples(samples: Path) -> dict[str, str]:
    """Image paths of sample shards in `samples` or folders below it -> id of the first sample that names it."""
    import json

    folders = sorted({shard.parent for shard in samples.rglob("part-*.parquet")})
    if not folders:
        raise DataError("folder holds no sample shards", where=samples, next_step="give what `read` wrote to its --out")
    named: dict[str, str] = {}
    for folder in folders:
        try:
            for row in read_shards(folder, ["id", "images"]):
                for path in json.loads(row["images"]):
                    named.setdefault(Image(path).path, row["id"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("shards hold no samples", value=str(error), where=folder) from None
    return named


def _with_sample(finding: Finding, named: Mapping[str, str]) -> Finding:
    sample = named.get(finding.path, "")
    return Finding(finding.kind, finding.path, finding.detail, sample) if sample else finding


def _reject(finding: Finding) -> Reject:
    return Reject("doctor", finding.path, finding.sample, finding.kind, finding.detail)


def _summary(images: Sequence[ImageFacts], findings: Sequence[Finding], groups: Sequence[Group]) -> dict[str, Any]:
    in_folder = Counter(_folder(image.path) for image in images)
    findings_in = Counter(_folder(finding.path) for finding in findings)
    bad = {finding.path for finding in findings if finding.kind in BAD}
    bad_in = Counter(_folder(path) for path in bad)
    counts = Counter(finding.kind for finding in findings)
    return {
        "bad": len(bad),
        "counts": {kind: counts[kind] for kind in KINDS if counts[kind]},
        "formats": dict(sorted(Counter(image.format for image in images if image.format is not None).items())),
        "folders": [
            {"folder": name, "images": in_folder[name], "findings": findings_in[name], "bad": bad_in[name]}
            for name in sorted(in_folder.keys() | findings_in.keys())
        ],
        "findings": [finding.to_row() for finding in findings],
        "copies": [{"kind": g.kind, "paths": list(g.paths), "distance": g.distance} for g in groups],
    }


def _folder(path: str) -> str:
    """Dataset folder of an image: the first part of its path, the parent folder of an absolute one."""
    pure = Path(path)
    return str(pure.parent) if pure.is_absolute() else pure.parts[0] if len(pure.parts) > 1 else "."
