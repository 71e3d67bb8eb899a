"""What is wrong with a source as a whole although its records pass: said, never a reason to drop one.

A rewriter that does not look at what it is given answers everything alike, and no filter of the paper sees it: each
such answer is long enough, fluent and polite. All of it is counted while the kept records pass by, in bounded memory.
Ours, for English, as the other checks of words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import log
from typing import Any, NamedTuple

from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.text import WORDS_OF_NUMBERS

FEWEST = 5  # records of a source below which nothing is concluded
SAME_SHARE = 0.1  # of a source's records with one and the same answer, to different raw answers
ALIKE_SHARE = 0.3  # of near-duplicates beyond the raw answers that are equal themselves
GONE_SHARE = 0.5  # of the short raw answers of which the rewrite has no word
SHORT = 3  # words of a raw answer that a rewrite is expected to hold
FOLLOWED = 64  # answers counted at a time
SLOTS = 1 << 16  # of the estimate of how many raw answers differ
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+(?:\.\d+)?|[^\W\d_]+")
_EMPTY = {"a", "an", "the", "is", "are", "it", "of", "in", "on", "at", "and", "to", "answer"}
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ing|ed|es|s|ly|er|y|e)$")
_POLAR = {"yes", "no", "true", "false", "none", "unanswerable", "unknown"}  # a sentence can say it without the word


class Concern(NamedTuple):
    """Something that a person should look at.

    Args:
        source: Name of the source, or of a judge.
        what: What was found.
    """

    source: str
    what: str


@dataclass(slots=True)
class Answer:
    """One answer that has come up: how often at least, as it was written, and two of the raw answers behind it."""

    text: str
    count: int = 0
    raw: set[str] = field(default_factory=set)


@dataclass(slots=True)
class SourceAnswers:
    """The kept answers of one source.

    Of the commonest answers at most `FOLLOWED` are counted at a time (Misra and Gries): none with a larger share than
    one in `FOLLOWED` is missed, and a count is at most that share too low.
    """

    records: int = 0
    short: int = 0
    gone: int = 0
    example: tuple[str, str] = ("", "")
    answers: dict[str, Answer] = field(default_factory=dict)
    slots: bytearray = field(default_factory=lambda: bytearray(SLOTS))

    def add(self, raw: str, rewritten: str) -> None:
        """Count one record."""
        self.records += 1
        asked, said = _words(raw), _words(rewritten)
        name = " ".join(asked)
        self.slots[int.from_bytes(blake2b(name.encode(), digest_size=2).digest())] = 1
        self._follow(" ".join(said), rewritten, name)
        telling = [word for word in asked if word not in _EMPTY]
        if 0 < len(telling) <= SHORT and not _POLAR & {*telling}:
            self.short += 1
            if not {*map(_stem, telling)} & {*map(_stem, said)}:
                self.gone += 1
                self.example = self.example if self.gone > 1 else (raw, rewritten)

    def _follow(self, key: str, text: str, raw: str) -> None:
        answer = self.answers.get(key)
        if answer is None:
            if len(self.answers) >= FOLLOWED:
                for one in self.answers.values():
                    one.count -= 1
                self.answers = {name: one for name, one in self.answers.items() if one.count > 0}
                return
            answer = self.answers[key] = Answer(text)
        answer.count += 1
        if len(answer.raw) < 2:
            answer.raw.add(raw)

    @property
    def different(self) -> float:
        """About how many raw answers differ, at most all (linear counting)."""
        free = self.slots.count(0)
        return min(self.records, SLOTS * log(SLOTS / free) if free else float(self.records))

    def concerns(self, near_duplicates: float) -> Iterator[str]:
        """What is to be said of the source.

        Args:
            near_duplicates: Share of its records that are near-duplicates of an earlier one.
        """
        if self.records < FEWEST:
            return
        worst = max(self.answers.values(), key=lambda answer: answer.count, default=Answer(""))
        if len(worst.raw) > 1 and worst.count >= max(2, SAME_SHARE * self.records):
            yield (
                f"{worst.count} of {self.records} kept records have one and the same answer, to different raw answers: "
                f"{_shown(worst.text)}; does the rewriter look at what it is given?"
            )
        elif near_duplicates - (1 - self.different / self.records) >= ALIKE_SHARE:
            yield (
                f"{near_duplicates:.0%} of the kept answers are nearly those of earlier records, and their raw answers "
                "are not; `filter.near_duplicates.max_similarity` drops such answers"
            )
        if self.short >= FEWEST and self.gone >= GONE_SHARE * self.short:
            raw, rewritten = self.example
            yield (
                f"of {self.short} short raw answers {self.gone} are not in their rewrites by any word, e.g. "
                f"{_shown(raw)} became {_shown(rewritten)}; was the annotation lost?"
            )


@dataclass(slots=True)
class Concerns:
    """Looks at the kept records of every source."""

    sources: dict[str, SourceAnswers] = field(default_factory=dict)

    def add(self, rewrite: Rewrite, text: str) -> None:
        """Count a kept record.

        Args:
            rewrite: The record.
            text: Its answer, after the paragraph filter.
        """
        self.sources.setdefault(rewrite.source, SourceAnswers()).add(rewrite.raw_answer, text)

    def report(self, sets: Mapping[str, Any], misplaced: Sequence[str] = ()) -> list[Concern]:
        """Everything to be said.

        Args:
            sets: By source, ``near_duplicate_share`` of what the filters keep (`filter.sets`).
            misplaced: Judges that were trained in the embedded world and judge other data here.
        """
        found = [
            Concern(name, "this judge is the packaged one, trained on drawn scenes of the embedded world; on other "
                    "data its scores, and the filter that goes by them, mean nothing (name another in `backbones`, "
                    "or none)")
            for name in misplaced
        ]  # fmt: skip
        for source, answers in sorted(self.sources.items()):
            share = sets.get(source, {}).get("near_duplicate_share", 0.0)
            found += [Concern(source, what) for what in answers.concerns(share)]
        return found


def _words(text: str) -> list[str]:
    return [str(WORDS_OF_NUMBERS.get(word, word)) for word in _WORD.findall(text.lower())]


def _stem(word: str) -> str:
    """A word without its ending, so that "walking" and "walks" are one."""
    return _ENDING.sub("", word)


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return f"“{text if len(text) <= 80 else text[:79] + '…'}”"
