"""Columns of our own, beyond the paper, that need no model: unsupported objects, numbers changed, yes and no flipped.

They are heuristics over words, in English. Their filters are off by default (`filter` in params.yaml); the columns are
always there, so that switching one on re-decides without scoring again. Two more, denials that come or go and a text
that stops in mid-sentence, are for the learned filter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.objects import Vocabulary, annotated_objects, annotation, vocabulary_of
from polite_flamingo.scorers.text import TENS, UNITS, WORDS_OF_NUMBERS, without_boxes

_SOFT = {"a": 1, "an": 1, "one": 1, "single": 1, "pair": 2, "couple": 2, "both": 2, "no": 0, "none": 0, "not": 0}
_NUMBER = re.compile(r"\d+(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?|[a-z]+(?:-[a-z]+)?")
_YES, _NO = frozenset({"yes", "yeah", "yep", "correct", "true"}), frozenset({"no", "nope", "incorrect", "false"})
_NEGATION = re.compile(r"\b(?:no|not|none|never|neither|nor|nothing|nobody|without|cannot)\b|n['’]t\b")
_SENTENCE = re.compile(r"[.!?](?:\s|$)")
_END = re.compile(r"[.!?…。！？।][\"'”’»)\]]*\s*\Z")
_FIRST = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True)
class Checker:
    """Computes the columns of a data set.

    Args:
        vocabulary: Names of objects.
        objects: Categories that the annotations of each image name, by its path.
    """

    vocabulary: Vocabulary
    objects: Mapping[str, frozenset[str]]

    def score(self, rewrite: Rewrite, texts: Sequence[str] | None) -> dict[str, Any]:
        """The columns of this module; `texts` are the record's `cut_texts`."""
        applies = rewrite.task.is_caption or rewrite.task.is_short(rewrite.raw_answer)  # others say more on purpose
        named = self._annotated(rewrite) if applies else None
        numbers = AnnotatedNumbers.of(rewrite) if applies else None

        def of(text: str) -> dict[str, int | None]:
            if named is None or numbers is None:
                return {"unsupported_objects": None, "numbers_changed": None}
            unsupported = self.vocabulary.categories_in(text, negated=False) - named
            return {"unsupported_objects": len(unsupported), "numbers_changed": numbers.changed(text)}

        columns = of(rewrite.rewritten)
        cuts = None if texts is None else [of(text) for text in texts]
        by_cut = {f"{name}_by_cut": None if cuts is None else [cut[name] for cut in cuts] for name in columns}
        whole = {
            "yes_no_flipped": yes_no_flipped(rewrite),
            "negation_changed": negation_changed(rewrite) if applies or rewrite.task.is_vqa else None,
            "cut_off": cut_off(rewrite.rewritten),
        }
        return {**columns, **by_cut, **whole}

    def unsupported(self, rewrite: Rewrite, text: str) -> frozenset[str]:
        """Categories that `text` names and neither instruction, annotation nor another record of its images does."""
        return self.vocabulary.categories_in(text, negated=False) - self._annotated(rewrite)

    def _annotated(self, rewrite: Rewrite) -> frozenset[str]:
        known = self.vocabulary.categories_in("\n".join([rewrite.instruction, *annotation(rewrite)]))
        return known.union(*(self.objects.get(image.path, ()) for image in rewrite.images))


def checker_of(read: Callable[[], Iterable[Rewrite]]) -> Checker:
    """A checker for a data set.

    Args:
        read: Streams its records; called twice, for the names of the boxes and for what is in each image.
    """
    vocabulary = vocabulary_of(read())
    return Checker(vocabulary, annotated_objects(read(), vocabulary))


@dataclass(frozen=True, slots=True)
class AnnotatedNumbers:
    """The numbers around a record's answer, with which those of a text are compared.

    Args:
        raw: Those that the raw answer says (where there are several captions: every one of them).
        known: Those that annotation or instruction say or imply, and the number of boxes.
    """

    raw: frozenset[float]
    known: frozenset[float]

    @classmethod
    def of(cls, rewrite: Rewrite) -> AnnotatedNumbers:
        """Read a record's annotation."""
        extras = rewrite.extras
        answers = list(map(str, extras.get("captions") or ())) or [rewrite.raw_answer]
        raw = frozenset.intersection(*(frozenset(_numbers([answer])[0]) for answer in answers))
        annotated = [text.partition(BOX_SENTENCE)[0] for text in annotation(rewrite)]
        stated, implied = _numbers([rewrite.instruction, *annotated, *map(str, extras.get("choices") or ())])
        boxes = Counter(str(box[0]) for box in extras.get("boxes") or ())
        counted = {float(count) for count in (*boxes.values(), boxes.total())}
        return cls(raw, frozenset(stated | implied | counted))

    def changed(self, text: str) -> int:
        """How many numbers of `text` and of the annotation differ."""
        stated, implied = _numbers([text])
        return max(len(self.raw - stated - implied), len(stated - self.known))


def numbers_changed(rewrite: Rewrite, text: str) -> int:
    """How many numbers differ between `text` and the annotation; one that was replaced by another counts once.

    A number of the raw answer (where there are several captions: of every one) that the text does not say is lost;
    one of the text that neither annotation, instruction nor the number of boxes says is invented; the larger count is
    returned. "A", "one", "a pair", "both", "no" can stand for a number but are not missed themselves. Coordinates of
    boxes are no numbers here.
    """
    return AnnotatedNumbers.of(rewrite).changed(text)


def yes_no_flipped(rewrite: Rewrite) -> int | None:
    """1 where the raw answer to a question is yes and its rewrite says no, or the other way round; None elsewhere."""
    if not rewrite.task.is_short(rewrite.raw_answer):
        return None
    first = _FIRST.search(rewrite.raw_answer.lower().removeprefix("answer:"))
    polarity = _polarity(first.group() if first else "")
    return None if polarity is None else int(polarity is not _says_yes(rewrite.rewritten))


def negation_changed(rewrite: Rewrite) -> int:
    """1 where the rewrite denies something and neither question nor annotation does, or the other way round."""
    asked = f"{rewrite.instruction}\n{rewrite.raw_answer}"
    return int(_denies(rewrite.rewritten) is not _denies(asked))


def cut_off(text: str) -> int:
    """1 where a text has no mark that ends a sentence at its end; one that closes a quotation may follow."""
    return int(_END.search(text) is None)


def _denies(text: str) -> bool:
    return _NEGATION.search(text.lower()) is not None


def _says_yes(text: str) -> bool:
    sentence = _SENTENCE.split(text.lower().strip(), maxsplit=1)[0]
    first = _FIRST.match(sentence)
    polarity = _polarity(first.group() if first else "")
    return polarity if polarity is not None else not _denies(sentence)


def _polarity(word: str) -> bool | None:
    return True if word in _YES else False if word in _NO else None


def _numbers(texts: Iterable[str]) -> tuple[set[float], set[float]]:
    """Numbers that the texts state, and those that a softer word may stand for."""
    stated: set[float] = set()
    implied: set[float] = set()
    for word in _NUMBER.findall(without_boxes("\n".join(texts)).lower()):
        tens, hyphen, unit = word.partition("-")
        if word in _SOFT:
            implied.add(_SOFT[word])
        elif word[0].isdigit():
            stated.add(float(word.replace(",", "")))
        elif word in WORDS_OF_NUMBERS:
            stated.add(WORDS_OF_NUMBERS[word])
        elif hyphen and tens in TENS and unit in UNITS[1:10]:
            stated.add(WORDS_OF_NUMBERS[tens] + WORDS_OF_NUMBERS[unit])
    return stated, implied
