"""Which question each record of a file answers, and what is left over on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, permutations
from typing import Any

import numpy as np

from polite_flamingo.benchmarks.answer_files import AnswerFile, SaidAnswer
from polite_flamingo.benchmarks.items import QuestionSet, bare, canonical
from polite_flamingo.benchmarks.records import Broken
from polite_flamingo.errors import DataError

SHOWN = 5  # ids in a message
SHOWN_OF_ID = 100  # characters
UNKNOWN = -1
MOST_PARTS = 4  # categories of which every order is tried
NEAR = 0.6  # share of the words of a question that those of its answer's record must have
OTHER_QUESTIONS = 0.5  # share of records with known ids and other questions from which a file is refused

Place = tuple[int, int]  # number of a set, number of an item


@dataclass(slots=True)
class Counts:
    """What became of the records of one file.

    Attributes:
        records: In the file, broken lines apart.
        matched: Questions that got an answer.
        unmatched: Records whose id is of no question.
        other_question: Records whose id is known and whose question is another one.
        reworded: Answers whose question has some words else than the set's.
        doubled: Records about a question that a later one answers again; the last counts.
        unanswered: Records without an answer.
        empty: Answers without a word.
        missing: Questions without answer, of the sets the file answers at all.
        broken: Lines that are no JSON.
        by_order: Whether records were told by their place alone.
        notes: Ids of the first of each.
    """

    records: int = 0
    matched: int = 0
    unmatched: int = 0
    other_question: int = 0
    reworded: int = 0
    doubled: int = 0
    unanswered: int = 0
    empty: int = 0
    missing: int = 0
    broken: int = 0
    by_order: bool = False
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Matched:
    """The records of a file by question.

    Attributes:
        places: Set and item of each record, `UNKNOWN` where there is none; shape (records, 2).
        counts: What became of them.
    """

    places: np.ndarray[Any, np.dtype[np.int64]]
    counts: Counts


@dataclass(frozen=True, slots=True)
class Candidates:
    """Questions that a record may answer.

    Attributes:
        places: Theirs.
        known: Whether its id was known at all.
        reworded: Whether the record's words of the question are a little different.
    """

    places: Sequence[Place]
    known: bool
    reworded: bool


class QuestionIndex:
    """The questions of all sets by every form of their ids.

    Args:
        sets: The sets.
    """

    def __init__(self, sets: Sequence[QuestionSet]) -> None:
        self.sets = sets
        self._by_alias: dict[str, list[Place]] = {}  # ids of a question file come before those of the file of truth
        self._by_id: dict[str, list[Place]] = {}
        self._by_image: dict[str, list[Place]] = {}
        self._asked: dict[Place, str] = {}
        for number, own in enumerate(sets):
            for place, item in enumerate(own.items):
                self._by_id.setdefault(canonical(item.id), []).append((number, place))
                for name in item.aliases:
                    self._by_alias.setdefault(canonical(name), []).append((number, place))
                if item.image:
                    self._by_image.setdefault(canonical(item.image), []).append((number, place))

    def find(self, answer: SaidAnswer, hint: str = "") -> Candidates:
        """The questions that a record may answer.

        An id, or an image with one question, is enough where the record has no words of its question; where it has,
        they must be the question's. Under a known id they may differ a little, as in files copied from pages.

        Args:
            answer: The record.
            hint: Name of its file, which may tell a category.
        """
        asked = bare(answer.question)
        near: list[Place] = []
        known = False
        pictured = canonical(answer.image) if answer.image else ""
        for name in map(canonical, dict.fromkeys((*answer.ids, *([answer.image] if answer.image else [])))):
            of_image = name == pictured and name in self._by_image  # no place in a file, where ids are places
            for table in (self._by_image,) if of_image else (self._by_alias, self._by_id, self._by_image):
                candidates = table.get(name, [])
                known = known or bool(candidates)
                same = [place for place in candidates if self._same(place, asked)]
                if len(same) > 1:
                    same = self._closest(same, asked, answer.group, hint)
                if same and (table is not self._by_image or asked or len(same) == 1):
                    return Candidates(same, True, False)
                if len(candidates) == 1 and not near and _shared(self._words(candidates[0]), asked) >= NEAR:
                    near = candidates
        return Candidates(near, known, bool(near))

    def _words(self, place: Place) -> str:
        if place not in self._asked:
            self._asked[place] = bare(self.sets[place[0]].items[place[1]].question)
        return self._asked[place]

    def _same(self, place: Place, asked: str) -> bool:
        words = self._words(place)
        return (
            not asked or not words or f" {words} " in f" {asked} " or words.replace(" ", "") == asked.replace(" ", "")
        )

    def _closest(self, found: list[Place], asked: str, group: str, hint: str) -> list[Place]:
        """Of questions that fit: those in the very words, the longest, of the told category."""
        longest = max(len(self._words(place)) for place in found)
        within = [place for place in found if not asked or len(self._words(place)) == longest]
        told = [
            place
            for place in within
            if any(name == group or (name and name in hint) for name in self.sets[place[0]].items[place[1]].groups)
        ]
        return told or within


def match(file: AnswerFile, index: QuestionIndex) -> Matched:
    """Find the question of every record of a file.

    Args:
        file: The answers.
        index: The questions.

    Raises:
        DataError: the file answers none of them, answers others under the same ids, or holds the questions themselves.
    """
    broken = Broken()
    counts = Counts()
    places: list[Place] = []
    used: dict[Place, int] = {}
    odd: dict[str, list[str]] = {}
    echoes = 0
    for answer in file.answers(broken):
        counts.records += 1
        if answer.is_empty:
            counts.unanswered += 1
            odd.setdefault("without an answer", []).append(_named(answer, counts.records))
            places.append((UNKNOWN, UNKNOWN))
            continue
        found = index.find(answer, file.path.name)
        if not found.places:
            counts.other_question += found.known
            counts.unmatched += not found.known
            odd.setdefault("another question" if found.known else "unknown ids", []).append(
                _named(answer, counts.records)
            )
            places.append((UNKNOWN, UNKNOWN))
            continue
        counts.reworded += found.reworded
        place = next((one for one in found.places if one not in used), found.places[0])
        if place in used:
            counts.doubled += 1
            odd.setdefault("answered again", []).append(_named(answer, counts.records))
            places[used[place]] = (UNKNOWN, UNKNOWN)
        used[place] = len(places)
        places.append(place)
        counts.empty += answer.text is not None and not answer.text.strip()
        echoes += bool(answer.text) and answer.text == index.sets[place[0]].items[place[1]].question
    counts.broken = broken.count
    odd_ones = counts.other_question + counts.reworded + counts.unmatched
    if (not used or odd_ones > OTHER_QUESTIONS * counts.records) and (ordered := _by_order(file, index, counts)):
        return ordered
    _refuse(file, index, counts, len(used), echoes, odd)
    return _finished(places, counts, index, odd, broken)


def answers_of(file: AnswerFile, matched: Matched) -> Iterator[tuple[int, int, SaidAnswer]]:
    """Set, place and record of each answer that counts."""
    for (number, place), answer in zip(matched.places.tolist(), file.answers(Broken()), strict=True):
        if number != UNKNOWN and not answer.is_empty:
            yield number, place, answer


def _finished(
    places: Sequence[Place], counts: Counts, index: QuestionIndex, odd: dict[str, list[str]], broken: Broken
) -> Matched:
    array = np.array(places, dtype=np.int64).reshape(-1, 2)
    answered = array[array[:, 0] != UNKNOWN]
    counts.matched = len(answered)
    counts.missing = sum(len(index.sets[number].items) for number in np.unique(answered[:, 0])) - counts.matched
    counts.notes += [f"{what}: {', '.join(ids[:SHOWN])}{' …' * (len(ids) > SHOWN)}" for what, ids in odd.items()]
    if broken.count:
        counts.notes.append(f"lines that are no JSON: {', '.join(broken.first)}{' …' * (broken.count > SHOWN)}")
    return Matched(array, counts)


def _by_order(file: AnswerFile, index: QuestionIndex, counts: Counts) -> Matched | None:
    """Records told by their place: as many as a set (or all of them) has questions, and each about that question.

    POPE's own evaluation reads files so. Categories of a set may follow each other in another order than its files.
    Records without the question's words are not taken.
    """
    asked = [bare(answer.question) for answer in file.answers(Broken()) if answer.text is not None]
    if len(asked) != counts.records or not all(asked):
        return None
    for places in _orders(index, len(asked)):
        words = (bare(index.sets[number].items[place].question) for number, place in places)
        if all(own and own in told for own, told in zip(words, asked, strict=True)):
            done = Counts(records=counts.records, by_order=True, broken=counts.broken)
            return _finished(places, done, index, {}, Broken())
    return None


def _orders(index: QuestionIndex, size: int) -> Iterator[list[Place]]:
    """Ways in which so many records can follow each other."""
    everything = [(number, place) for number, own in enumerate(index.sets) for place in range(len(own.items))]
    if len(everything) == size:
        yield everything
    for number, own in enumerate(index.sets):
        if len(own.items) == size:
            parts: dict[tuple[str, ...], list[Place]] = {}
            for place, item in enumerate(own.items):
                parts.setdefault(item.groups, []).append((number, place))
            orders = permutations(parts.values()) if len(parts) <= MOST_PARTS else [tuple(parts.values())]
            yield from (list(chain.from_iterable(order)) for order in orders)


def _refuse(
    file: AnswerFile, index: QuestionIndex, counts: Counts, matched: int, echoes: int, odd: dict[str, list[str]]
) -> None:
    """Raise where a file is not what it should be."""
    if matched and echoes * 2 > matched:
        raise DataError(
            "the file holds the questions, not answers",
            value=f"{echoes} of {matched} texts are the question itself",
            where=file.path,
            next_step="give the file that a model's answers were written to",
        )
    if counts.other_question + counts.reworded > OTHER_QUESTIONS * max(1, counts.records):
        raise DataError(
            "the file answers other questions under the same ids",
            value=odd.get("another question", [])[:SHOWN],
            where=file.path,
            next_step="name the questions that it answers",
        )
    if not matched:
        asked = [own.items[i].id for own in index.sets for i in range(min(2, len(own.items)))]
        given = odd.get("unknown ids") or odd.get("another question") or odd.get("without an answer") or []
        nothing = counts.unanswered == counts.records
        what = "the file holds no answers" if nothing else "the file answers none of the questions"
        raise DataError(
            what,
            value=f"its ids: {', '.join(given[:SHOWN])}; asked: {', '.join(asked[:SHOWN])}",
            where=file.path,
            next_step="name the questions that it answers, and ids in the same form",
        )


def _named(answer: SaidAnswer, number: int) -> str:
    """A record for a message."""
    return (answer.ids[0] if answer.ids else answer.image or f"record {number}")[:SHOWN_OF_ID]


def _shared(first: str, second: str) -> float:
    """Share of the words of the shorter text that the other has."""
    ours, theirs = set(first.split()), set(second.split())
    return len(ours & theirs) / max(1, min(len(ours), len(theirs)))
