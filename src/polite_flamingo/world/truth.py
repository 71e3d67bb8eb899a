"""What the embedded world knows about its images: did a rewrite keep the answer, does it name what is not there?

Rewriting corrupts some clean rewrites with it and says in its report what the rewrites kept, filtering measures its
filters against it, evaluation and calibration judge with it; what is kept or rejected never depends on it. The paper
could not measure its filters this way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polite_flamingo.io.text import read_jsonl
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.world.vocabulary import COLORS, NUMBERS, POSITIONS, SHAPES, SIZES

Pair = tuple[str, str]

MENTION = re.compile(rf"\b({'|'.join(COLORS)})\s+({'|'.join(SHAPES)})s?\b")
_NEGATION = re.compile(r"\b(no|not|without|not see|not see an?|gone|removed|longer)\b[^.]{0,12}$")
_WORDS = re.compile(rf"\b({'|'.join((*COLORS, *SHAPES))})s?\b")
_PLACE = re.compile(rf"\b({'|'.join(POSITIONS)})\b")
_KINDS = re.compile(rf"\b({'|'.join((*COLORS, *SHAPES, *SIZES))})s?\b")
_CHANGES = {  # word of an annotation -> how a response may say it
    "gone": r"\b(gone|removed|missing|no longer|disappeared)\b",
    "added": r"\b(added|new|appeared)\b",
    "now": r"\b(now|turned|changed|painted|became)\b",
}
CATEGORIES: dict[str, tuple[str, ...]] = {
    "color": COLORS,
    "shape": SHAPES,
    "size": SIZES,
    "position": POSITIONS,
    "yes/no": ("yes", "no"),
    "count": (*NUMBERS, "0", "1", "2", "3", "4", "no"),
}
_COUNT = re.compile(rf"\b({'|'.join(CATEGORIES['count'])})\b(.{{0,40}})")


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdict of the ground truth on one text."""

    answer_preserved: bool
    hallucinated: tuple[str, ...] = field(default=())

    @property
    def corrupted(self) -> bool:
        """The answer changed, or an object is named that is not there."""
        return not self.answer_preserved or bool(self.hallucinated)


class GroundTruth:
    """The objects of every image, by path relative to the data root."""

    def __init__(self, objects: Mapping[str, frozenset[Pair]]) -> None:
        self._objects = dict(objects)

    def knows(self, images: Sequence[str]) -> bool:
        """True when every image has ground truth and there is at least one."""
        return bool(images) and all(path in self._objects for path in images)

    def pairs(self, images: Sequence[str]) -> frozenset[Pair]:
        """Colour-shape pairs in any of the images."""
        return frozenset().union(*(self._objects[path] for path in images))

    def judge(
        self, *, task: Task, instruction: str, raw_answer: str, text: str, images: Sequence[str], short_answer: str = ""
    ) -> Judgement | None:
        """Judge `text` as an answer to `instruction` whose annotated answer is `raw_answer`.

        Args:
            task: VQA, CAPTION, CHANGE or DETAIL; other tasks give None.
            instruction: The question or request.
            raw_answer: The annotation.
            text: The response to judge.
            images: Paths relative to the data root.
            short_answer: The bare answer where `raw_answer` also holds rationales.

        Returns:
            None where the ground truth cannot tell.
        """
        if not self.knows(images):
            return None
        present = self.pairs(images)
        if task is Task.VQA:
            questioned = set(mentions(instruction))
            invented = [p for p in mentions(text) if p not in present and p not in questioned]
            preserved = same_answer(instruction, short_answer or raw_answer, text)
        elif task in (Task.CAPTION, Task.CHANGE, Task.DETAIL):
            annotated = raw_answer.split("\n\n")[0]
            required = set(mentions(annotated, negated=True))
            known = present | required
            invented = [p for p in mentions(text) if p not in known]
            if task is Task.CHANGE:
                preserved = same_change(annotated, text)
            else:
                preserved = required <= set(mentions(text, negated=True))
        else:
            return None
        return Judgement(preserved, tuple(sorted({" ".join(p) for p in invented})))

    def judge_rewrite(self, rewrite: Rewrite, text: str | None = None) -> Judgement | None:
        """Judge a rewrite, or `text` in its place (for instance what an editor left of it)."""
        return self.judge(
            task=rewrite.task,
            instruction=rewrite.instruction,
            raw_answer=rewrite.raw_answer,
            text=rewrite.rewritten if text is None else text,
            images=[i.path for i in rewrite.images],
            short_answer=str(rewrite.extras.get("short_answer", "")),
        )


def load_ground_truth(raw: Path) -> GroundTruth | None:
    """Read ``ground_truth.jsonl`` of a rendered world; None where there is none (real data)."""
    path = raw / "ground_truth.jsonl"
    if not path.is_file():
        return None
    return GroundTruth(
        {row["image"]: frozenset((o["color"], o["shape"]) for o in row["objects"]) for row in read_jsonl(path)}
    )


def mentions(text: str, negated: bool = False) -> list[Pair]:
    """Colour-shape pairs named in `text`, without those it denies ("no red circle") unless `negated`."""
    lowered = " ".join(text.lower().split())
    return [
        (match[1], match[2])
        for match in MENTION.finditer(lowered)
        if negated or not _NEGATION.search(lowered[: match.start()])
    ]


def same_answer(question: str, answer: str, text: str) -> bool:
    """True when `text` says of the thing asked about, and of no other, what `answer` says.

    A bare term is about the thing asked. A sentence that names another object, another place or another kind of things
    to count is not, even if the term in it happens to be the right one.
    """
    answer = bare_answer(answer)
    category = next((name for name, terms in CATEGORIES.items() if answer in terms), None)
    lowered = " ".join(text.lower().split())
    clause = question.split("?")[0].lower()
    if category is None:
        return answer in lowered
    if category == "count" or (answer == "no" and "how many" in clause):
        return _counts(clause, lowered, _number(answer))
    named, asked = mentions(text, negated=True), mentions(clause, negated=True)
    if category in ("yes/no", "position") and named and asked and asked[0] not in named:
        return False
    if category == "yes/no":
        return _polarity(lowered, asked) == answer
    if category == "position":
        return _place(asked, lowered) == answer
    terms = set(re.findall(rf"\b({'|'.join(CATEGORIES[category])})s?\b", _said_of(clause, lowered)))
    if f"{answer} or" not in clause and f"or {answer}" not in clause:
        terms -= set(re.findall(r"\w+", clause))
    return terms == {answer}


def same_change(annotation: str, text: str) -> bool:
    """True when `text` names every colour and shape of a change annotation and what happened to them."""
    was, now = annotation.lower(), text.lower()
    named = set(_WORDS.findall(was)) <= set(_WORDS.findall(now))
    return named and all(re.search(said, now) for word, said in _CHANGES.items() if re.search(rf"\b{word}\b", was))


def bare_answer(answer: str) -> str:
    """The term alone, of an answer that may have its reasons behind it."""
    return answer.removeprefix("Answer:").split(".")[0].strip().lower()


def _polarity(lowered: str, asked: Sequence[Pair]) -> str | None:
    match = re.search(r"\b(yes|no|not)\b", lowered)
    if match is None:
        there_is = not asked and re.search(r"\bthere (is|are)\b", lowered)
        return "yes" if there_is or set(asked) & set(mentions(lowered)) else None
    return "yes" if match[1] == "yes" else "no"


def _place(asked: Sequence[Pair], lowered: str) -> str | None:
    """Where `lowered` says the thing asked about is: the place behind its name, else the last one before it."""
    places = [(match.start(), match[1]) for match in _PLACE.finditer(lowered)]
    names = [(match.start(), (match[1], match[2])) for match in MENTION.finditer(lowered)]
    at = next((start for start, pair in names if pair in asked), None)
    if at is None:
        return places[0][1] if places else None
    until = next((start for start, pair in names if start > at and pair not in asked), len(lowered))
    behind = [place for start, place in places if at < start < until]
    before = [place for start, place in places if start < at]
    return behind[0] if behind else before[-1] if before else None


def _said_of(clause: str, lowered: str) -> str:
    """The parts of `lowered` about the place that `clause` asks about; everything where no place is named."""
    asked = _PLACE.search(clause)
    if asked is None or not _PLACE.search(lowered):
        return lowered
    said: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s", lowered):
        before: list[str] = []  # parts in front of the first place belong to it
        here = None
        for part in re.split(r",\s|\sand\s", sentence):
            place = _PLACE.search(part)
            here = here if place is None else place[1] == asked[1]
            before += [part] if here is None else []
            said += [*before, part] if here else []
            before = before if here is None else []
    return " ".join(said)


def _counts(clause: str, lowered: str, answer: str) -> bool:
    """True when the first number of `lowered` is `answer` and counts what `clause` asks to count."""
    number = _COUNT.search(lowered)
    if number is None:
        number = re.search(r"\bthere is (an?)\b(.{0,40})", lowered)
    if number is None or (_number(number[1]) if number[1] not in ("a", "an") else "1") != answer:
        return False
    counted = re.split(r"\b(?:in|at|on)\b|[,.:;]", number[2])[0]
    kinds, asked = set(_KINDS.findall(counted)), set(_KINDS.findall(clause))
    if not asked:  # for everything: what the things are may be said beside
        return kinds <= set(SHAPES)
    return kinds == asked or not (kinds or re.search(r"\b(?:object|shape|item|thing|figure)s?\b", counted))


def _number(term: str) -> str:
    if term == "no":
        return "0"
    return str(NUMBERS.index(term)) if term in NUMBERS else term
