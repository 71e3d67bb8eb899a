"""Strategy 2 (section 3.1.2): random noise on sentences, characters and words, each level with probability 50 %.

The operations are nlpaug's (``RandomCharAug``, ``RandomWordAug``) with its defaults: between 1 and 10 units are
changed, their share is drawn anew each time, character noise leaves words below four letters alone, and text is cut
into words and punctuation and joined again. Not copied: two slips of nlpaug 1.1 (deleting the first word brings a
deleted second word back; cropping one word may fail), and its global random state.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from polite_flamingo.distort.base import Draft, Response

MIN_UNITS, MAX_UNITS = 1, 10  # nlpaug: aug_min, aug_max of characters and of words
MIN_LETTERS = 4  # nlpaug: min_char of RandomCharAug
ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "!@#$%^&*()_+"  # nlpaug: spec_char last
CHAR_ACTIONS = ("insert", "substitute", "swap", "delete")
WORD_ACTIONS = ("delete", "swap", "crop")

_TOKEN = re.compile(r"\w+|[^\w\s]")
_BEFORE_STOP = re.compile(r" ([.,:;?!%]+)(?=[ '\"`]|$)")
_AFTER_OPENING = re.compile(r"(^| )([\[({<]) ")
_BEFORE_CLOSING = re.compile(r" ([\])}>])(?= |$)")


@dataclass(frozen=True, slots=True)
class TextNoise:
    """Random text augmentation; works on every response."""

    level_probability: float = 0.5
    name: str = "text_noise"

    def applies(self, response: Response) -> bool:
        """Always."""
        return True

    def distort(self, responses: Sequence[Response], rngs: Sequence[Random]) -> list[Draft]:
        """Add noise to each response."""
        return [Draft(add_noise(r.text, rng, self.level_probability)) for r, rng in zip(responses, rngs, strict=True)]


def add_noise(text: str, rng: Random, level_probability: float) -> str:
    """Drop sentences, shuffle sentences, character noise, word noise: each with `level_probability`, in this order."""
    if rng.random() < level_probability:
        text = drop_sentences(text, rng)
    if rng.random() < level_probability:
        text = shuffle_sentences(text, rng)
    if rng.random() < level_probability:
        text = char_noise(text, rng.choice(CHAR_ACTIONS), rng.random(), rng.random(), rng)
    if rng.random() < level_probability:
        text = word_noise(text, rng.choice(WORD_ACTIONS), rng.random(), rng)
    return text


def drop_sentences(text: str, rng: Random) -> str:
    """Keep a random number of leading sentences; their full stops go with the cut, as in the authors' code."""
    sentences = text.split(".")
    return "".join(sentences[: rng.randint(1, len(sentences))])


def shuffle_sentences(text: str, rng: Random) -> str:
    """Put the sentences in random order, joined by nothing or by line breaks."""
    sentences = text.split(".")
    rng.shuffle(sentences)
    return rng.choice(("", "\n")).join(sentences)


def char_noise(text: str, action: str, char_share: float, word_share: float, rng: Random) -> str:
    """Change characters of some words.

    Args:
        text: Any text.
        action: insert, substitute, swap (adjacent) or delete.
        char_share: Share of the characters of a chosen word.
        word_share: Share of the words.
        rng: Source of every draw.
    """
    tokens = tokenize(text)
    long_enough = [i for i, token in enumerate(tokens) if len(token) >= MIN_LETTERS]
    for i in _pick(long_enough, _count(word_share, len(tokens)), rng):
        chars = list(tokens[i])
        places = _pick(range(len(chars)), _count(char_share, len(chars)), rng)
        if action == "swap":
            for place in places:
                _swap_chars(chars, place, _neighbour(place, len(chars), rng))
        else:
            for place in sorted(places, reverse=True):
                new = {
                    "insert": [rng.choice(ALPHABET), chars[place]],
                    "substitute": [rng.choice(ALPHABET)],
                    "delete": [],
                }
                chars[place : place + 1] = new[action]
        tokens[i] = "".join(chars)
    return detokenize(tokens)


def word_noise(text: str, action: str, share: float, rng: Random) -> str:
    """Change words; punctuation marks are never chosen, except inside a cropped run.

    Args:
        text: Any text; a single word stays as it is.
        action: delete, swap (with a neighbour) or crop (delete a contiguous run).
        share: Share of the words.
        rng: Source of every draw.
    """
    tokens = tokenize(text)
    if len(tokens) < 2:
        return text.strip()
    count = _count(share, len(tokens))
    if action == "crop":
        start = rng.randrange(len(tokens) - count + 1)
        gone = set(range(start, start + count))
    else:
        words = [i for i, token in enumerate(tokens) if token not in string.punctuation]
        chosen = _pick(words, count, rng)
        if action == "swap":
            for i in chosen:
                _swap_words(tokens, i, _neighbour(i, len(tokens), rng))
            return detokenize(tokens)
        gone = set(chosen)
    kept = [token for i, token in enumerate(tokens) if i not in gone]
    if 0 in gone and kept and _is_capitalised(tokens[0]) and kept[0].islower():
        kept[0] = kept[0].capitalize()
    return detokenize(kept)


def tokenize(text: str) -> list[str]:
    """Words and single punctuation marks; white space is lost, line breaks included."""
    return _TOKEN.findall(text)


def detokenize(tokens: Sequence[str]) -> str:
    """Join with blanks, without those before stops and inside brackets."""
    text = " ".join(token for token in tokens if token)
    text = _BEFORE_STOP.sub(r"\1", text)
    text = _AFTER_OPENING.sub(r"\1\2", text)
    return _BEFORE_CLOSING.sub(r"\1", text).strip()


def _count(share: float, size: int) -> int:
    return min(max(math.ceil(share * size), MIN_UNITS), MAX_UNITS)


def _pick(items: Sequence[int], count: int, rng: Random) -> list[int]:
    return rng.sample(items, min(count, len(items)))


def _neighbour(place: int, size: int, rng: Random) -> int:
    if size < 2:
        return place
    if place == 0:
        return 1
    return place - 1 if place == size - 1 else place + rng.choice((-1, 1))


def _swap_chars(chars: list[str], a: int, b: int) -> None:
    upper = [chars[a].isupper(), chars[b].isupper()]  # letters trade places, their case stays where it was
    chars[a], chars[b] = chars[b], chars[a]
    for place, was_upper in zip((a, b), upper, strict=True):
        chars[place] = chars[place].upper() if was_upper else chars[place].lower()


def _swap_words(tokens: list[str], a: int, b: int) -> None:
    first, second = sorted((a, b))
    old, new = tokens[first], tokens[second]
    tokens[first], tokens[second] = new, old
    if first == 0 and _is_capitalised(old):
        tokens[0] = new.capitalize() if new.islower() else new
        tokens[second] = "I" if old == "I" else old.lower()


def _is_capitalised(token: str) -> bool:
    return token[:1].isupper() and (len(token) == 1 or token[1:].islower())
