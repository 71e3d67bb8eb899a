"""VQA accuracy: an answer that three of ten people gave is right (Antol et al. 2015), in its two official forms.

An answer scores min(matches / 3, 1), averaged over the ten subsets of nine annotators. What is compared differs:

- VQA v2's evaluation (`vqa_accuracy`) processes punctuation of the annotated answers only where they disagree, and
  leaves their articles and numbers alone;
- TextVQA's (`textvqa_accuracy`), which is EvalAI's, processes both sides alike.

Both keep the peculiarities of the published code, on which published figures rest: a mark is a blank unless it stands
beside one somewhere in the text; a full stop goes even between digits where no digit follows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache

ENOUGH = 3  # annotators that make an answer right
KEPT = 2048  # texts whose processed form is remembered
_MARKS = (";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!")
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")  # as published: the first group is meant as "not behind a digit" and is not
_COMMA = re.compile(r"(\d)(,)(\d)")
_MOST_PERIODS = 32  # the published code hands `re.UNICODE` on as the number of replacements
_ARTICLES = ("a", "an", "the")
_NUMBERS = {
    "none": "0",
    **{"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"},
    **{"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"},
}

_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def vqa_accuracy(answer: str, annotated: Sequence[str]) -> float:
    """Accuracy of VQA v2 and OK-VQA.

    Args:
        answer: The model's.
        annotated: Of all annotators, usually ten.
    """
    alike = len(set(annotated)) == 1
    theirs = [text if alike else _without_marks(text) for text in annotated]
    return _leave_one_out(_processed(answer), theirs)


def textvqa_accuracy(answer: str, annotated: Sequence[str]) -> float:
    """Accuracy of TextVQA, whose evaluator is EvalAI's.

    Args:
        answer: The model's.
        annotated: Of all annotators, usually ten.
    """
    return _leave_one_out(evalai(answer), [evalai(text) for text in annotated])


def direct_accuracy(answer: str, annotated: Sequence[str]) -> float:
    """Accuracy of A-OKVQA's direct answers: three of the ten, in the very same words."""
    return min(1.0, sum(answer.strip().lower() == text.strip().lower() for text in annotated) / ENOUGH)


def soft_accuracy(answer: str, annotated: Sequence[str], scores: Sequence[float]) -> float:
    """The score that a file of soft answers gives to one of them; 0.0 for any other."""
    told = _processed(answer)
    found = zip(annotated, scores, strict=True)
    return max((score for text, score in found if told in (text, _processed(text))), default=0.0)


def contains(answer: str, annotated: Sequence[str]) -> bool:
    """Whether one of the annotated answers is among the words of an answer, as LVLM-eHub evaluates."""
    told = f" {_processed(answer)} "
    return any((text := _processed(one)) and f" {text} " in told for one in annotated)


@lru_cache(KEPT)
def evalai(text: str) -> str:
    """A text as EvalAI's processor of answers leaves it."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _digits_and_articles(_without_marks(text.replace("\n", " ").replace("\t", " ").strip()))


def _leave_one_out(answer: str, annotated: Sequence[str]) -> float:
    if not annotated:
        return 0.0
    matches = sum(text == answer for text in annotated)
    without_one, with_all = (min(1.0, others / ENOUGH) for others in (matches - 1, matches))
    return (matches * without_one + (len(annotated) - matches) * with_all) / len(annotated)


@lru_cache(KEPT)
def _processed(text: str) -> str:
    return _digits_and_articles(_without_marks(text.replace("\n", " ").replace("\t", " ").strip()))


@lru_cache(KEPT)
def _without_marks(text: str) -> str:
    joined = text
    between_digits = _COMMA.search(text) is not None
    for mark in _MARKS:
        if mark in text:
            beside_blank = f"{mark} " in text or f" {mark}" in text
            joined = joined.replace(mark, "" if beside_blank or between_digits else " ")
    return _PERIOD.sub("", joined, count=_MOST_PERIODS)


def _digits_and_articles(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_contractions().get(word, word) for word in words if word not in _ARTICLES)


@cache
def _contractions() -> dict[str, str]:
    """Words that lack an apostrophe -> as they are written."""
    found = {"somebody'd": "somebodyd"}  # as published
    for word in _CONTRACTIONS.split():
        places = [i for i, letter in enumerate(word) if letter == "'"]
        found.update({word[:i] + word[i + 1 :]: word for i in places})
    return found
