"""Making a study: samples drawn, images put into the file, answers shuffled, annotators given their links."""

from __future__ import annotations

import hashlib
import io
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from polite_flamingo.draws import key
from polite_flamingo.errors import ConfigError, DataError, ImageError
from polite_flamingo.images import open_image, resolve_image
from polite_flamingo.study.drawing import PAPER, SAMPLES, assign, draw, in_order, shuffled
from polite_flamingo.study.forms import StudyForm
from polite_flamingo.study.pool import Pool
from polite_flamingo.study.records import Assignment, StudyItem
from polite_flamingo.study.store import create_file

MAX_SIDE = 1_600  # pixels; a larger image is made smaller
MAX_BYTES = 1_000_000  # of an image file that is kept as it is
AS_IT_IS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
SPARE = 5  # more samples read than wanted: one in so many, in case of images that cannot be read
MAX_NAME = 40
MAX_GUIDELINES = 50_000


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What kind of study is made.

    Args:
        form: What is asked.
        annotators: Who is asked.
        title: What the page shows.
        guidelines: Likewise; None: those of the form.
        samples: How many are drawn; 600 in appendix F.
        weights: Share of each group; None: even.
        shared: Samples that everybody judges; None: all.
        seed: Seed of draws and orders.
        origin: Where the samples come from, for the report.
    """

    form: StudyForm
    annotators: tuple[str, ...]
    title: str
    guidelines: str | None = None
    samples: int = SAMPLES
    weights: Mapping[str, float] | None = None
    shared: int | None = None
    seed: int = 0
    origin: str = PAPER


def create(path: Path, plan: StudyPlan, pool: Pool, image_root: Path) -> dict[str, Any]:
    """Draw and write a study.

    Args:
        path: The file; it must not be there.
        plan: What kind.
        pool: What is drawn from.
        image_root: Folder that image paths are relative to.

    Returns:
        What was drawn, left out and why, and how many samples each annotator judges.

    Raises:
        ConfigError: annotators, guidelines or quotas are unusable.
        DataError: there is such a file, or nothing could be drawn.
    """
    _check(plan)
    drawn = draw(pool.groups, plan.samples, plan.weights, plan.seed)
    chosen, images, broken = _with_images(drawn, pool, image_root, plan.seed)
    items = {name: item for own in chosen.values() for name, item in own.items()}
    if not items:
        raise DataError("no sample could be drawn", value=broken[:3], where=image_root, next_step="look at the images")
    rows = assign({group: list(own) for group, own in chosen.items()}, plan.annotators, plan.shared, plan.seed)
    order = {
        name: in_order((item for who, item, _ in rows if who == name), plan.seed, name) for name in plan.annotators
    }
    places = {name: {item: place for place, item in enumerate(own)} for name, own in order.items()}
    ranking = any(len(item.answers) > 1 for item in items.values())
    about = {
        "id": uuid.uuid4().hex,
        "title": plan.title,
        "form": plan.form.name,
        "guidelines": plan.form.guidelines() if plan.guidelines is None else plan.guidelines,
        "ranking": ranking,
        "seed": plan.seed,
        "origin": plan.origin,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "groups": {group: {"there": len(pool.groups[group]), "drawn": len(own)} for group, own in chosen.items()},
    }
    create_file(
        path,
        about,
        {name: secrets.token_urlsafe(18) for name in plan.annotators},
        [items[name] for name in in_order(items, plan.seed, "file")],
        images,
        [Assignment(who, item, role, places[who][item]) for who, item, role in rows],
    )
    return {
        "file": str(path),
        "samples": len(items),
        "wanted": plan.samples,
        "groups": about["groups"],
        "short_of": {name: 0 for name in plan.weights or {} if name not in pool.groups},
        "images": len(images),
        "left_out_for_their_images": broken,
        "annotators": {name: len(own) for name, own in order.items()},
        **pool.told,
    }


def _check(plan: StudyPlan) -> None:
    names = plan.annotators
    usable = all(name == name.strip() and 0 < len(name) <= MAX_NAME and name.isprintable() for name in names)
    if not names or len(set(names)) != len(names) or not usable:
        raise ConfigError(
            "annotators need names of their own, of up to 40 characters", value=list(names), where="--annotators"
        )
    if plan.guidelines is not None and not 0 < len(plan.guidelines) <= MAX_GUIDELINES:
        raise ConfigError("guidelines are empty or too long", value=len(plan.guidelines), where="--guidelines")


def _with_images(
    drawn: Mapping[str, Sequence[str]], pool: Pool, root: Path, seed: int
) -> tuple[dict[str, dict[str, StudyItem]], dict[str, tuple[str, bytes]], list[str]]:
    """The drawn samples with their images; one whose image cannot be read gives its place to the next of its group."""
    wanted: dict[str, list[str]] = {}
    for group, names in drawn.items():
        ranked = sorted(pool.groups[group], key=lambda name: key(f"{seed}:{name}:study"))
        wanted[group] = ranked[: len(names) + len(names) // SPARE + SPARE]
    read = pool.read([name for names in wanted.values() for name in names])
    once = cache(partial(embedded, root))
    images: dict[str, tuple[str, bytes]] = {}
    chosen: dict[str, dict[str, StudyItem]] = {}
    broken: list[str] = []
    for group, names in wanted.items():
        own: dict[str, StudyItem] = {}
        for name in names:
            if len(own) == len(drawn[group]):
                break
            try:
                found = [once(image) for image in read[name].images]
            except ImageError as error:
                broken.append(f"{name}: {error.what} ({error.value})")
                continue
            images |= {hash_: (media, data) for hash_, media, data in found}
            answers = tuple(shuffled(read[name].answers, seed, name))
            own[name] = replace(read[name], images=tuple(hash_ for hash_, _, _ in found), answers=answers)
        weight = len(pool.groups[group]) / max(1, len(own))
        chosen[group] = {name: replace(item, stratum=group, weight=weight) for name, item in own.items()}
    return {group: own for group, own in chosen.items() if own}, images, broken


def embedded(root: Path, path: str) -> tuple[str, str, bytes]:
    """Hash, media type and bytes of an image as browsers show it; a large or unusual one becomes a JPEG.

    Raises:
        ImageError: it is missing, broken or outside the root.
    """
    picture = open_image(root, path)
    file = resolve_image(root, path)
    media = AS_IT_IS.get(file.suffix.lower())
    data = file.read_bytes() if media and max(picture.size) <= MAX_SIDE and file.stat().st_size <= MAX_BYTES else b""
    if not data:
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        media, data = "image/jpeg", buffer.getvalue()
    assert media is not None
    return hashlib.sha256(data).hexdigest(), media, data
