"""The shipped judges measured again where they are used: put in place by origin, loaded by the scorers.

On held-out records alone, a fixed draw of at most so many of each kind; figures may differ from the manifest's by the
chance of the draw and by rounding.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from polite_flamingo.laptop import nli, reward
from polite_flamingo.laptop.answers import kit_root, read_answered
from polite_flamingo.laptop.image_text import area_under_curve, read_captioned
from polite_flamingo.laptop.nli_texts import read_entailment
from polite_flamingo.laptop.reward_texts import read_preferences
from polite_flamingo.model.origins import materialise
from polite_flamingo.scorers.base import ScoreQuestion

LOG = logging.getLogger(__name__)
T = TypeVar("T")


def remeasure(names: Sequence[str], data_root: Path, most: int) -> dict[str, Any]:
    """Held-out figures of shipped judges.

    Args:
        names: Some of ``nli``, ``reward``, ``clip``.
        data_root: Folder that holds ``photos/`` and the text data sets.
        most: Records of a data set, or photographs, at most.
    """
    root = kit_root(data_root)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            folder = Path(scratch) / name
            materialise("laptop", name, folder)
            found[name] = _MEASURES[name](folder, root, most)
            LOG.info("%s: %s", name, found[name])
    return found


def _nli(folder: Path, root: Path, most: int) -> dict[str, Any]:
    from polite_flamingo.scorers.nli import load_nli

    pairs = nli.pairs_of(read_entailment(root), read_answered(root), "held_out")
    pairs = _some(pairs, most, lambda pair: pair.source)
    logits = load_nli(folder).logits([(pair.premise, pair.hypothesis) for pair in pairs])
    return nli.accuracies(pairs, [row.index(max(row)) for row in logits])


def _reward(folder: Path, root: Path, most: int) -> dict[str, Any]:
    from polite_flamingo.scorers.reward import load_reward

    people = read_preferences(root, reward.SEED)
    pairs = reward.preferences_of(people, read_answered(root), "held_out")
    pairs = _some(pairs, most, lambda pair: pair.source)
    return reward.orders(pairs, load_reward(folder).rewards([text for pair in pairs for text in pair.pairs]))


def _clip(folder: Path, root: Path, most: int) -> dict[str, Any]:
    """AUC of the first caption of each photograph against the first one of the next photograph."""
    from polite_flamingo.scorers.clip import load_clip

    captioned = read_captioned(root, "held_out")
    paths = Random(0).sample(captioned.paths, min(most, len(captioned.paths)))
    first = {path: own[0] for path, own in zip(captioned.paths, captioned.texts, strict=True)}
    questions = [
        ScoreQuestion(path, (first[path], first[other]), (path,))
        for path, other in zip(paths, [*paths[1:], paths[0]], strict=True)
    ]
    scores = load_clip(folder, image_root=root / "photos", mode="fixed").answer(questions)
    return {"auc": area_under_curve([own for own, _ in scores], [other for _, other in scores]), "n": len(paths)}


def _some(items: Sequence[T], most: int, kind: Callable[[T], str]) -> list[T]:
    """At most so many of each kind, drawn with a fixed seed."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    return [item for own in groups.values() for item in Random(0).sample(own, min(most, len(own)))]


_MEASURES: dict[str, Callable[[Path, Path, int], dict[str, Any]]] = {"nli": _nli, "reward": _reward, "clip": _clip}
