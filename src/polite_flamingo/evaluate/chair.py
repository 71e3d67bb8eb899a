"""CHAIR: objects that a text names and the image does not show (Rohrbach et al. 2018), for captions with object truth.

An object is one of COCO's 80 categories, named by one of the published synonyms. It is invented where neither the
annotated objects nor the reference captions have it. The sentence-level rate is the share of texts with an invented
object, the instance-level rate the share of invented ones among all objects named.

What the published code adds to single words is kept: "hot dog" is no dog, "baby zebra" no person, "train track" no
train, the seat of a toilet no chair. Its lemmatiser needs data of its own; here plurals are names as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from polite_flamingo.scorers.objects import Vocabulary

_NO_OBJECT = ""  # category of phrases that name none, though a word of theirs does
_YOUNG_OR_GROWN = ("baby", "adult")  # before an animal they are no person
_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
_PHRASES = {
    _NO_OBJECT: [
        "home plate",
        "train track",
        *(f"{age} {kind}" for age in _YOUNG_OR_GROWN for kind in ("animal", "cub")),
    ],
    "airplane": ["passenger jet"],
    "train": ["passenger train"],
    "toilet": ["toilet seat"],
    **{animal: [f"{age} {animal}" for age in _YOUNG_OR_GROWN] for animal in _ANIMALS},
}
_IRREGULAR = {
    **{"man": "men", "woman": "women", "policeman": "policemen", "gentleman": "gentlemen", "serviceman": "servicemen"},
    **{"child": "children", "grandchild": "grandchildren", "person": "persons", "thief": "thieves", "goose": "geese"},
    **{"mouse": "mice", "calf": "calves", "knife": "knives", "pocketknife": "pocketknives", "buffalo": "buffaloes"},
}


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """Objects that a text names, one entry per mention, by category.

    Attributes:
        named: All of them.
        invented: Those that the image does not show.
    """

    named: tuple[str, ...]
    invented: tuple[str, ...]


def named_objects(text: str) -> list[str]:
    """Categories of the objects that a text names, one per mention.

    >>> named_objects("Two men feed a baby zebra near the train tracks.")
    ['person', 'zebra']
    """
    found = [pair for pair in _vocabulary().mentions(text) if pair[1] != _NO_OBJECT]
    if any(category == "toilet" for _, category in found):
        found = [pair for pair in found if pair[0] not in ("seat", "seats")]
    return [category for _, category in found]


def check_objects(text: str, shown: Collection[str]) -> NamedObjects:
    """Which objects `text` names, and which of them are invented.

    Args:
        text: A description.
        shown: What the image shows, as of `shown_objects`.
    """
    named = tuple(named_objects(text))
    return NamedObjects(named, tuple(category for category in named if category not in shown))


def shown_objects(extras: Mapping[str, Any], captions: Iterable[str]) -> frozenset[str] | None:
    """What an image shows: its annotated objects and what its captions name; None where no objects are annotated.

    Args:
        extras: A sample's extras; ``objects`` (categories) or ``boxes`` are the annotated objects.
        captions: Its reference captions.
    """
    annotated = [str(name) for name in extras.get("objects") or ()] + [str(b[0]) for b in extras.get("boxes") or ()]
    if not annotated or not categories().issuperset(annotated):
        return None
    return frozenset(annotated).union(*map(named_objects, captions))


def chair(checked: Sequence[NamedObjects]) -> tuple[float, float]:
    """The sentence-level and the instance-level rate of texts; 0.0 where nothing is named."""
    named = sum(len(text.named) for text in checked)
    invented = sum(len(text.invented) for text in checked)
    return sum(bool(text.invented) for text in checked) / max(1, len(checked)), invented / max(1, named)


@cache
def categories() -> frozenset[str]:
    """COCO's 80 categories."""
    return frozenset(_synonyms())


@cache
def _synonyms() -> dict[str, list[str]]:
    import yaml

    text = files("polite_flamingo").joinpath("assets/chair_synonyms.yaml").read_text(encoding="utf-8")
    names: dict[str, list[str]] = yaml.safe_load(text)
    return names


@cache
def _vocabulary() -> Vocabulary:
    names: dict[str, list[str]] = {}
    for part in (_synonyms(), _PHRASES):
        for category, synonyms in part.items():
            names.setdefault(category, []).extend(synonyms)
    return Vocabulary(
        {
            category: [*synonyms, *(_IRREGULAR[name] for name in (category, *synonyms) if name in _IRREGULAR)]
            for category, synonyms in names.items()
        }
    )
