"""Injected corruptions: one thing about a text made wrong, so that a filter can be measured where no truth is known.

Each corruption is a pure function of text, context and random generator. It gives None where it does not fit, never
the text as it was. What the annotation says (the context) is never put in as the error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from random import Random

Corruption = Callable[[str, str, Random], "str | None"]

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
# things of one sort, singular -> plural: an object is swapped for one of its own sort
SORTS: tuple[dict[str, str], ...] = (
    {"man": "men", "woman": "women", "boy": "boys", "girl": "girls", "child": "children", "baby": "babies"},
    {"person": "people", "dog": "dogs", "robot": "robots", "statue": "statues"},
    {
        "cat": "cats", "dog": "dogs", "horse": "horses", "sheep": "sheep", "cow": "cows", "elephant": "elephants",
        "bear": "bears", "zebra": "zebras", "giraffe": "giraffes", "bird": "birds",
    },
    {
        "bicycle": "bicycles", "bike": "bikes", "car": "cars", "motorcycle": "motorcycles", "airplane": "airplanes",
        "plane": "planes", "bus": "buses", "train": "trains", "truck": "trucks", "boat": "boats",
    },
    {
        "banana": "bananas", "apple": "apples", "sandwich": "sandwiches", "orange": "oranges", "carrot": "carrots",
        "pizza": "pizzas", "donut": "donuts", "cake": "cakes",
    },
    {"chair": "chairs", "couch": "couches", "bed": "beds", "table": "tables", "bench": "benches", "desk": "desks"},
    {
        "bottle": "bottles", "glass": "glasses", "cup": "cups", "fork": "forks", "knife": "knives", "spoon": "spoons",
        "bowl": "bowls", "plate": "plates", "vase": "vases",
    },
    {
        "tv": "tvs", "laptop": "laptops", "keyboard": "keyboards", "phone": "phones", "microwave": "microwaves",
        "oven": "ovens", "toaster": "toasters", "refrigerator": "refrigerators", "computer": "computers",
    },
    {"skateboard": "skateboards", "surfboard": "surfboards", "snowboard": "snowboards", "kite": "kites"},
    {"backpack": "backpacks", "umbrella": "umbrellas", "handbag": "handbags", "suitcase": "suitcases", "hat": "hats"},
    {"street": "streets", "beach": "beaches", "field": "fields", "kitchen": "kitchens", "park": "parks"},
    {"background": "backgrounds", "sky": "skies", "face": "faces", "text": "texts", "border": "borders"},
    {
        "red": "red", "blue": "blue", "green": "green", "yellow": "yellow", "purple": "purple", "white": "white",
        "black": "black", "brown": "brown",
    },
)  # fmt: skip
# what a rewriter invents when it goes on: section 4.2 names "In addition, ..."
INVENTIONS = (
    "In addition, there is {thing} in the background.",
    "In addition, {thing} can be seen on the left side.",
    "There is also {thing} next to it, which draws the viewer's attention.",
    "On the right, {thing} is partly visible.",
)
REQUESTS = ("Also, add {thing}.", "Then put {thing} into the background.")  # where the text asks for an edit
THINGS = tuple(name for sort in SORTS[1:-3] for name in sort)

_NUMBER = re.compile(rf"(?<![\d.,:/])\d{{1,3}}(?![\d:/%]|[.,]\d)|\b(?:{'|'.join(NUMBERS)})\b", re.IGNORECASE)
_OPEN = frozenset(  # words that cannot end a sentence
    ("a", "an", "the", "of", "in", "on", "at", "with", "and", "or", "to", "is", "are", "was", "were", "for", "from",
     "by", "into", "than", "that", "not", "no")
)  # fmt: skip
_POLARITY = (
    (re.compile(r"^(\W*)yes\b(,?)", re.IGNORECASE), r"\1No\2"),
    (re.compile(r"^(\W*)no\b(,?)", re.IGNORECASE), r"\1Yes\2"),
)
_VERBS = "is|are|was|were|can|could|does|do|did|has|have|will|should"
_NEGATED = re.compile(rf"\b({_VERBS}) not (?:an? (?=\w))?", re.IGNORECASE)
_NO_NOUN = re.compile(r"\b(there (?:is|are)) no\b", re.IGNORECASE)
_AUXILIARY = re.compile(r"\b(is|are|was|were|can|could|will|should|would|must)\b(?! not\b)", re.IGNORECASE)
_BEINGS = "|".join(sorted({word for sort in SORTS[:3] for pair in sort.items() for word in pair}))
_DOING = re.compile(rf"\b(?:{_BEINGS})(?= \w+ing\b)", re.IGNORECASE)
_EDITS = (
    "make|increase|decrease|add|remove|change|crop|brighten|darken|blur|replace|put|adjust|lower|cut|rotate|take|delete|"
    "sharpen|insert|zoom|enhance|place"
)
_IMPERATIVE = re.compile(rf"^(?:please )?(?:{_EDITS})\b", re.IGNORECASE)


def change_number(text: str, context: str, rng: Random) -> str | None:
    """Replace one number (digits up to 999 or two … twelve) by another the context does not name."""
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    match = rng.choice(numbers)
    was = match[0].lower()
    named = {m[0].lower() for m in _NUMBER.finditer(context)} | {was}
    if was.isdigit():
        value = int(was)
        choices = [str(v) for v in range(max(0, value - 3), value + 6) if str(v) not in named]
    else:
        choices = [word for word in NUMBERS if word not in named]
    return None if not choices else _put(text, match, _like(rng.choice(choices), match[0]))


def swap_object(text: str, context: str, rng: Random) -> str | None:
    """Replace one object (or colour), everywhere in the text, by another of its sort that is named nowhere."""
    words = set(re.findall(r"[a-z]+", f"{text} {context}".lower()))
    choices = []
    for sort in SORTS:
        free = [(one, many) for one, many in sort.items() if one not in words and many not in words]
        named = [(one, many) for one, many in sort.items() if one in words or many in words]
        choices += [(pair, free) for pair in named if free and _names(text, pair)]
    if not choices:
        return None
    (one, many), free = rng.choice(choices)
    new_one, new_many = rng.choice(free)
    pattern = re.compile(rf"\b(?:(an?) )?({re.escape(many)}|{re.escape(one)})\b", re.IGNORECASE)

    def swapped(match: re.Match[str]) -> str:
        word = new_one if match[2].lower() == one else new_many
        head = "" if match[1] is None else f"{_like(_article(word), match[1])} "
        return f"{head}{_like(word, match[2])}"

    return pattern.sub(swapped, text)


def negate(text: str, context: str, rng: Random) -> str | None:
    """Turn the statement round: a leading yes or no, a denial taken away, or "not" put in."""
    for pattern, other in _POLARITY:
        turned = pattern.sub(other, text, count=1)
        if turned != text:
            return turned
    for pattern, other in ((_NEGATED, r"\1 "), (_NO_NOUN, r"\1")):
        turned = pattern.sub(other, text, count=1)
        if turned != text:
            return turned
    match = _AUXILIARY.search(text) or _DOING.search(text)
    if match is not None:
        return f"{text[: match.end()]} not{text[match.end() :]}"
    if _IMPERATIVE.search(text):
        return f"Do not {text[0].lower()}{text[1:]}"
    return None


def invent_sentence(text: str, context: str, rng: Random) -> str | None:
    """Add a sentence about a thing named nowhere, as a paragraph of its own (as rewriters do) or at the end."""
    words = set(re.findall(r"[a-z]+", f"{text} {context}".lower()))
    free = [thing for thing in THINGS if thing not in words and f"{thing}s" not in words]
    if not free:
        return None
    thing = rng.choice(free)
    wordings = REQUESTS if _IMPERATIVE.search(text) else INVENTIONS
    sentence = rng.choice(wordings).format(thing=f"{_article(thing)} {thing}")
    return f"{text.rstrip()}{rng.choice((' ', chr(10) * 2))}{sentence}"


def truncate(text: str, context: str, rng: Random) -> str | None:
    """Stop in mid-sentence, after a word that cannot end one, in the second to fifth sixth of the text."""
    ends = [match.end() for match in re.finditer(r"\S+", text)]
    words = text.lower().split()
    ends_open = [i for i in range(max(1, len(ends) // 6), 5 * len(ends) // 6) if words[i] in _OPEN]
    return text[: ends[rng.choice(ends_open)]] if ends_open else None


CORRUPTIONS: dict[str, Corruption] = {
    "number_changed": change_number,
    "object_swapped": swap_object,
    "negated": negate,
    "sentence_invented": invent_sentence,
    "truncated": truncate,
}


def corrupt(text: str, context: str, rng: Random, kinds: Iterable[str] = tuple(CORRUPTIONS)) -> tuple[str, str] | None:
    """Corrupt `text` in the first way of `kinds` that fits.

    Args:
        text: A right text.
        context: All that is known to be true: the annotation and the question.
        rng: Seeded by the caller.
        kinds: Names in `CORRUPTIONS`, in the order to try.

    Returns:
        The corrupted text and the kind, None where none fits.
    """
    for kind in kinds:
        changed = CORRUPTIONS[kind](text, context, rng)
        if changed is not None and changed != text:
            return changed, kind
    return None


def _names(text: str, pair: Iterable[str]) -> bool:
    return any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in pair)


def _put(text: str, match: re.Match[str], word: str) -> str:
    return f"{text[: match.start()]}{word}{text[match.end() :]}"


def _like(word: str, example: str) -> str:
    return word[0].upper() + word[1:] if example[:1].isupper() else word


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
