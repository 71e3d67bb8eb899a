"""What the examined files mean: kinds of findings, copies, and evaluation pictures among the training ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.doctor.examine import ImageFacts
from polite_flamingo.doctor.similar import near_pairs
from polite_flamingo.images import IMAGE_FORMATS

if TYPE_CHECKING:
    import numpy as np

MIN_SIDE = 16  # pixels; MNIST's digits have 28, the placeholders of vanished web pictures often 1
BAD = {
    "missing": "named by a sample, not there",
    "outside": "a link that leads out of the data root",
    "empty": "no bytes",
    "not_an_image": "no image format",
    "truncated": "cut off",
    "broken": "cannot be decoded",
    "wrong_extension": "content is not what the name says",
    "enormous": "too many pixels or bytes (decompression bomb)",
    "numbers": "32-bit numbers for pixels, of no known range",
    "tiny": "a side shorter than --min-side",
    "overlap": "training image, same bytes as an evaluation image",
    "near_overlap": "training image, looks like an evaluation image",
}
NOTICES = {
    "animated": "several frames, only the first is used",
    "cmyk": "converted to RGB",
    "16bit": "more than 8 bits per channel, reduced",
    "palette": "palette, converted to RGB",
    "exif_rotated": "turned upright when opened",
    "duplicate": "same bytes as another image of its side",
    "near_duplicate": "looks like another image of its side",
}
KINDS = {**BAD, **NOTICES}  # kind -> what it means, in the order of the report


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one image.

    Args:
        kind: Key of `KINDS`.
        path: Path below the data root.
        detail: What exactly.
        sample: Id of the first sample that names the image, if samples were given.
    """

    kind: str
    path: str
    detail: str = ""
    sample: str = ""

    def to_row(self) -> dict[str, str]:
        """Flatten for JSON, empty fields left out."""
        row = {"kind": self.kind, "path": self.path, "detail": self.detail, "sample": self.sample}
        return {name: value for name, value in row.items() if value}


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are copies of each other.

    Args:
        kind: ``duplicate`` or ``near_duplicate``.
        paths: At least two, sorted; of identical files in a group of near ones only the first.
        distance: Most bits in which two neighbours of the group differ; 0 for identical files.
    """

    kind: str
    paths: tuple[str, ...]
    distance: int = 0


def judge(image: ImageFacts, min_side: int = MIN_SIDE) -> list[Finding]:
    """Findings that one file has by itself."""
    if image.problem is not None:
        return [Finding(image.problem, image.path, image.detail)]
    findings = []
    expected = IMAGE_FORMATS.get(Path(image.path).suffix.lower())
    if expected is not None and image.format not in expected:
        findings.append(Finding("wrong_extension", image.path, f"{image.format}"))
    if min(image.width, image.height) < min_side:
        findings.append(Finding("tiny", image.path, f"{image.width} x {image.height}"))
    if image.frames > 1:
        findings.append(Finding("animated", image.path, f"{image.frames} frames"))
    if image.mode == "CMYK":
        findings.append(Finding("cmyk", image.path))
    if image.deep:
        findings.append(Finding("16bit", image.path, str(image.mode)))
    if image.mode in ("P", "PA"):
        findings.append(Finding("palette", image.path))
    if image.orientation != 1:
        findings.append(Finding("exif_rotated", image.path, f"orientation {image.orientation}"))
    return findings


def copies(images: Sequence[ImageFacts]) -> list[Group]:
    """Groups of identical files, then of pictures that look the same.

    Pictures are near when their perceptual hashes differ in at most four bits; a group is what such steps connect.
    """
    by_bytes = _by(images, "sha256")
    groups = [Group("duplicate", tuple(sorted(paths))) for paths in by_bytes.values() if len(paths) > 1]
    first = {min(paths) for paths in by_bytes.values()}
    looks = _by([image for image in images if image.path in first], "phash")
    hashes = sorted(looks)
    parent = list(range(len(hashes)))
    spread = [0] * len(hashes)

    def top(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other, distance in near_pairs(_numbers(hashes)).tolist():
        one, other = top(one), top(other)
        parent[max(one, other)] = min(one, other)
        spread[min(one, other)] = max(spread[one], spread[other], distance)
    members: dict[int, list[str]] = {}
    for index, value in enumerate(hashes):
        members.setdefault(top(index), []).extend(looks[value])
    near = [Group("near_duplicate", tuple(sorted(m)), spread[i]) for i, m in members.items() if len(m) > 1]
    return [*sorted(groups, key=lambda g: g.paths), *sorted(near, key=lambda g: g.paths)]


def overlaps(training: Sequence[ImageFacts], evaluation: Sequence[ImageFacts]) -> list[Finding]:
    """Training images that are an evaluation image or look like one; each names the nearest evaluation image."""
    same = {sha: min(paths) for sha, paths in _by(evaluation, "sha256").items()}
    looks = {value: min(paths) for value, paths in _by(evaluation, "phash").items()}
    hashes = sorted({image.phash for image in training if image.phash is not None} | looks.keys())
    nearest = {value: (0, path) for value, path in looks.items()}
    for one, other, distance in near_pairs(_numbers(hashes)).tolist():
        for own, its in ((hashes[one], hashes[other]), (hashes[other], hashes[one])):
            if its in looks:
                nearest[own] = min(nearest.get(own, (distance, looks[its])), (distance, looks[its]))
    findings = []
    for image in training:
        if image.sha256 in same and image.problem is None:
            findings.append(Finding("overlap", image.path, same[image.sha256]))
        elif image.phash in nearest:
            distance, path = nearest[image.phash]
            findings.append(Finding("near_overlap", image.path, f"{path} ({distance} of 64 bits differ)"))
    return findings


def missing_images(root: Path, named: Mapping[str, str], images: Iterable[ImageFacts]) -> list[Finding]:
    """Images that samples name (path -> id of the first sample) and that are not below `root`."""
    examined = {image.path for image in images}
    return [
        Finding("missing", path, sample=sample)
        for path, sample in named.items()
        if path not in examined and not (root / path).is_file()
    ]


def _by(images: Iterable[ImageFacts], attribute: str) -> dict[str, list[str]]:
    """Paths of the decodable images by the value of an attribute."""
    paths: dict[str, list[str]] = {}
    for image in images:
        value = getattr(image, attribute)
        if value is not None and image.problem is None:
            paths.setdefault(value, []).append(image.path)
    return paths


def _numbers(hashes: Sequence[str]) -> np.ndarray:
    import numpy as np

    return np.array([int(value, 16) for value in hashes], dtype=np.uint64)
