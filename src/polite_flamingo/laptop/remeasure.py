"""What is shipped, measured again where it is used: hashes verified, loaded as the stages load it, held-out records.

Figures are those of the cards, of the same records where as many are asked; a draw of fewer is fixed.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from polite_flamingo.laptop import image_text, nli, reward
from polite_flamingo.laptop.answers import kit_root, read_answered
from polite_flamingo.laptop.connector import Photographs, dress, encode, list_photographs, measure_connector
from polite_flamingo.laptop.nli_texts import read_entailment
from polite_flamingo.laptop.reward_texts import read_preferences
from polite_flamingo.laptop.rewriter import measure_rewriter
from polite_flamingo.laptop.ship_flamingo import flat, numbers
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.image_text import load_projections
from polite_flamingo.model.origins import CONNECTOR, LAPTOP, REWRITER, materialise, verify_packaged
from polite_flamingo.model.shipped import load_shipped, load_shipped_rewriter
from polite_flamingo.sources.photographs import Part, part_of

LOG = logging.getLogger(__name__)
PART: Part = "held_out"
TOLERANCE = 0.02  # of a figure, or of its size where it is above 1
ON_CARDS = {CONNECTOR: 100, REWRITER: 60}  # records of a kind
T = TypeVar("T")


def remeasure(names: Sequence[str], data_root: Path, work: Path, most: int = 0) -> dict[str, dict[str, Any]]:
    """Held-out figures of shipped models.

    Args:
        names: Some of `MEASURES`.
        data_root: Folder that holds ``photos/`` and the text data sets.
        work: Where what the towers see is kept.
        most: Records of a data set, or photographs, at most; 0: as many as the cards' figures have.
    """
    root = kit_root(data_root)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        verify_packaged(name, LAPTOP)
        found[name] = MEASURES[name](root, work, most)
        LOG.info("%s: %s", name, found[name])
    return found


def compare(card: Mapping[str, Any], found: Mapping[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Figures that both have: name, the card's, the one found, and whether it is the same within `TOLERANCE`."""
    known, measured = (
        {name.removesuffix(" value"): value for name, value in flat(numbers(figures))} for figures in (card, found)
    )
    return [
        (name, known[name], value, abs(value - known[name]) <= TOLERANCE * max(1.0, abs(known[name])))
        for name, value in measured.items()
        if name in known and not name.endswith((" low", " high", " n"))
    ]


def _nli(root: Path, work: Path, most: int) -> dict[str, Any]:
    from polite_flamingo.scorers.nli import load_nli

    pairs = nli.pairs_of(read_entailment(root), read_answered(root), PART)
    pairs = _some(pairs, most, lambda pair: pair.source)
    with tempfile.TemporaryDirectory() as scratch:
        materialise("laptop", "nli", Path(scratch) / "nli")
        logits = load_nli(Path(scratch) / "nli").logits([(pair.premise, pair.hypothesis) for pair in pairs])
    return nli.accuracies(pairs, [row.index(max(row)) for row in logits])


def _reward(root: Path, work: Path, most: int) -> dict[str, Any]:
    from polite_flamingo.scorers.reward import load_reward

    people = read_preferences(root, reward.SEED)
    pairs = reward.preferences_of(people, read_answered(root), PART)
    pairs = _some(pairs, most, lambda pair: pair.source)
    with tempfile.TemporaryDirectory() as scratch:
        materialise("laptop", "reward", Path(scratch) / "reward")
        rewards = load_reward(Path(scratch) / "reward").rewards([text for pair in pairs for text in pair.pairs])
    return reward.orders(pairs, rewards)


def _clip(root: Path, work: Path, most: int) -> dict[str, Any]:
    captioned = image_text.read_captioned(root, PART).first(most)
    heads = load_projections(LAPTOP / "clip")
    texts = sorted({text for group in (captioned.texts, captioned.swapped) for own in group for text in own})
    with tempfile.TemporaryDirectory() as scratch:
        materialise(image_text.MPNET, "sts", Path(scratch) / "text")
        embeddings = image_text.embed_texts(Path(scratch) / "text", texts, "cpu")
    maps = image_text.map_photographs(root / "photos", captioned.paths, work, "cpu")
    rows = {text: row for row, text in enumerate(texts)}
    return image_text.measure_image_text(heads, captioned, maps, embeddings, rows, "cpu")


def _connector(root: Path, work: Path, most: int) -> dict[str, Any]:
    bundle = load_shipped(LAPTOP / CONNECTOR)
    return measure_connector(bundle, _seen(bundle, root, work), most or ON_CARDS[CONNECTOR])


def _rewriter(root: Path, work: Path, most: int) -> dict[str, Any]:
    return measure_rewriter(load_shipped_rewriter(), root / "photos", most or ON_CARDS[REWRITER])[0]


def _seen(bundle: FlamingoBundle, root: Path, work: Path) -> Photographs:
    """The held-out photographs as the shipped tower sees them."""
    photos = root / "photos"
    paths = [path for path in list_photographs(photos) if part_of(path) == PART]
    return dress(bundle, encode(bundle.tower.visual, photos, paths, work / "shipped", device="cpu"))


def _some(items: list[T], most: int, kind: Callable[[T], str]) -> list[T]:
    """At most so many of each kind, drawn with a fixed seed; 0: all."""
    if not most:
        return items
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    return [item for own in groups.values() for item in Random(0).sample(own, min(most, len(own)))]


MEASURES: dict[str, Callable[[Path, Path, int], dict[str, Any]]] = {
    "nli": _nli,
    "reward": _reward,
    "clip": _clip,
    CONNECTOR: _connector,
    REWRITER: _rewriter,
}
