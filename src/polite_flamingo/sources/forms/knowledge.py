"""What ELEVATER knows of a class: a dictionary's definition, WordNet's, and sentences of GPT-3.

The files end in ``.tsv`` and hold a JSON array. They name classes as CLIP's prompts do, not always as the label map.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject
from polite_flamingo.sources.base import VALUE_LENGTH, need
from polite_flamingo.sources.forms.files import read_items, relative

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fact:
    """What one file says of one class.

    Args:
        name: The class as the file calls it; empty for a broken entry, which keeps its place.
        texts: Definitions, each on one line, at most once.
        path: WordNet's more and more general terms.
    """

    name: str
    texts: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassKnowledge:
    """All that is known of one class: its name, definitions from all files and WordNet's path."""

    name: str
    texts: tuple[str, ...]
    path: tuple[str, ...]


def read_knowledge(
    source: str, root: Path, folder: str, dataset: str, classes: Sequence[str], rejects: list[Reject]
) -> list[ClassKnowledge]:
    """What the knowledge files say of each of `classes`, in their order.

    Files: ``knowledge/external/<dataset>_knowledge.tsv`` and ``knowledge/gpt3/GPT3_<dataset>.tsv``. One that is not
    there is logged; the classes then have only their names. Broken entries are added to `rejects`.

    Raises:
        DataError: a file is not a JSON array.
    """
    external = _facts(source, root, f"{folder}/knowledge/external/{dataset}_knowledge.tsv", _external, rejects)
    gpt3 = _facts(source, root, f"{folder}/knowledge/gpt3/GPT3_{dataset}.tsv", _gpt3, rejects)
    joined = []
    for name, first, second in zip(classes, align(classes, external), align(classes, gpt3), strict=True):
        facts = [fact for fact in (first, second) if fact is not None]
        texts = _distinct(text for fact in facts for text in fact.texts)
        path = facts[0].path if facts else ()
        joined.append(ClassKnowledge(facts[0].name if facts else name.replace("_", " "), texts, path))
    return joined


def align(classes: Sequence[str], facts: Sequence[Fact]) -> list[Fact | None]:
    """The fact of each class, found by name (letters and digits compared, case aside).

    Where a name does not agree (``AnnualCrop``, ``annual crop land``), its place in the file decides, but only if both
    lists have the same length and at least two classes that agree by name, and all that do, stand at the same place
    in both, or if the label map holds mere numbers: some files are in another order than the labels.
    """
    positions = {_plain(fact.name): position for position, fact in reversed(list(enumerate(facts))) if fact.name}
    matches = [positions.get(_plain(name)) for name in classes]
    agreeing = [position == number for number, position in enumerate(matches) if position is not None]
    numbered = all(name == str(number) for number, name in enumerate(classes))
    if len(facts) == len(classes) and all(agreeing) and (len(agreeing) >= 2 or numbered):
        return [fact if fact.name else None for fact in facts]
    return [None if position is None else facts[position] for position in matches]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _facts(source: str, root: Path, name: str, make: Callable[[Any], Fact], rejects: list[Reject]) -> list[Fact]:
    path = root / name
    if not path.is_file():
        LOG.warning("%s: no %s, its knowledge is left out", source, name)
        return []
    facts = []
    for row, entry in enumerate(read_items(path)):
        try:
            facts.append(make(entry))
        except DataError as error:
            facts.append(Fact(""))
            rejects.append(Reject(source, relative(root, path), str(row), error.what, str(error.value)[:VALUE_LENGTH]))
    return facts


def _external(entry: Any) -> Fact:
    name = need(entry, "classname", str)
    definitions = [text for text in (entry.get("def_wiki"), entry.get("def_wn")) if isinstance(text, str)]
    path = entry.get("path_wn")  # a list; an empty text where WordNet does not know the class
    terms = [term.replace("_", " ") for term in path if isinstance(term, str)] if isinstance(path, list) else []
    return Fact(name, _distinct(definitions), tuple(terms))


def _gpt3(entry: Any) -> Fact:
    name, sentences = need(entry, "classname", str), need(entry, "gpt3", list)
    return Fact(name, _distinct(text for text in sentences if isinstance(text, str)))


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts on one line each, blank and repeated ones left out."""
    kept: dict[str, str] = {}
    for text in texts:
        line = " ".join(text.split())
        if line:
            kept.setdefault(line.casefold(), line)
    return tuple(kept.values())
