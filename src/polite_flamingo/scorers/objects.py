"""Names of objects in a text: the categories of COCO with their synonyms, and those of the data set's own boxes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files

from polite_flamingo.records import Rewrite

_WORD = re.compile(r"\w+(?:-\w+)*|[.!?;,]")
_STOPS = frozenset(".!?;,")
_NEGATIONS = frozenset({"no", "not", "without", "neither", "nor", "isn", "aren", "any"})
_NEAR = 3  # words between a negation and what it negates


class Vocabulary:
    """Which category a word or phrase names.

    Args:
        names: Category to its synonyms. Plurals are added.
    """

    def __init__(self, names: Mapping[str, Iterable[str]]) -> None:
        self._category: dict[tuple[str, ...], str] = {}
        for category, synonyms in names.items():
            for name in (category, *synonyms):
                words = tuple(_WORD.findall(name.lower()))
                for form in (words, (*words[:-1], _plural(words[-1]))) if words else ():
                    self._category.setdefault(form, category)
        self._longest: dict[str, int] = {}  # words of the longest name that begins with a word
        for form in self._category:
            self._longest[form[0]] = max(len(form), self._longest.get(form[0], 0))

    def categories_in(self, text: str, *, negated: bool = True) -> frozenset[str]:
        """Categories that `text` names, as in `mentions`."""
        return frozenset(category for _, category in self.mentions(text, negated=negated))

    def mentions(self, text: str, *, negated: bool = True) -> Iterator[tuple[str, str]]:
        """Names in `text` and their categories; where two overlap the longer one counts ("hot dog" is no dog).

        Args:
            text: Any text.
            negated: Whether names closely after "no", "not", "without" … count as well.
        """
        words = _WORD.findall(text.lower())
        position = 0
        while position < len(words):
            for length in range(min(self._longest.get(words[position], 0), len(words) - position), 0, -1):
                name = words[position : position + length]
                category = self._category.get(tuple(name))
                if category is not None:
                    if negated or not _negates(words[max(position - _NEAR, 0) : position]):
                        yield " ".join(name), category
                    position += length
                    break
            else:
                position += 1


def vocabulary_of(rewrites: Iterable[Rewrite]) -> Vocabulary:
    """COCO's names and the names of all boxes in `rewrites`; a box name that COCO has is COCO's."""
    own = {str(box[0]).lower() for rewrite in rewrites for box in rewrite.extras.get("boxes") or ()}
    return Vocabulary({**_coco(), **{name: [] for name in sorted(own - set(_coco()))}})


def annotated_objects(rewrites: Iterable[Rewrite], vocabulary: Vocabulary) -> dict[str, frozenset[str]]:
    """What the annotations of all records say is in each image, by its path: what one record leaves out, another of the
    same image may name. Injected corruptions count with their annotation alone, which is right.
    """
    known: dict[str, frozenset[str]] = {}
    sets: dict[frozenset[str], frozenset[str]] = {}  # many images show the same: each set is held once
    for rewrite in rewrites:
        named = supported(rewrite, vocabulary)
        for image in rewrite.images if named else ():
            both = known.get(image.path, frozenset()) | named
            known[image.path] = sets.setdefault(both, both)
    return known


def supported(rewrite: Rewrite, vocabulary: Vocabulary) -> frozenset[str]:
    """Categories that a record's own annotation names: raw answer, captions, answers, boxes, objects; none negated."""
    return vocabulary.categories_in("\n".join(annotation(rewrite)), negated=False)


def annotation(rewrite: Rewrite) -> list[str]:
    """Everything the annotation says, in words."""
    extras = rewrite.extras
    texts = [rewrite.raw_answer]
    for name in ("captions", "sentences", "answers", "rationales"):
        texts += map(str, extras.get(name) or ())
    return [*texts, *(str(box[0]) for box in extras.get("boxes") or ()), *map(str, extras.get("objects") or ())]


@cache
def _coco() -> dict[str, list[str]]:
    import yaml

    text = files("polite_flamingo").joinpath("assets/object_names.yaml").read_text(encoding="utf-8")
    names: dict[str, list[str]] = yaml.safe_load(text)
    return names


def _negates(before: Sequence[str]) -> bool:
    clause = [word for i, word in enumerate(before) if _STOPS.isdisjoint(before[i:])]
    return not _NEGATIONS.isdisjoint(clause)


def _plural(word: str) -> str:
    if word.endswith("s") and not word.endswith(("ss", "us")):
        return word  # "skis", "scissors"
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in set("aeiou"):
        return f"{word[:-1]}ies"
    return f"{word}s"
