"""Multiple choice, yes and no, numbers: what an answer picks, and whether that is right."""

from __future__ import annotations

import re
from collections.abc import Sequence

from polite_flamingo.benchmarks.items import bare

LETTERS = "ABCDEFGHIJKLMNOP"
NOTHING = -1
TOLERANCE = 0.05  # ChartQA, section 5.1
_LEAD = re.compile(r"^(?:\(([A-P])\)|([A-P])[).:](?=\s|$)|([A-P])$)")
_TOLD = re.compile(r"(?:answer|option|choice)\s*(?:is:?|:)?\s*\(?([A-P])\)?(?=[.,;:)]|\s*$)", re.IGNORECASE)


def chosen(answer: str, choices: Sequence[str]) -> int:
    """Place of the choice that an answer names by letter or text; `NOTHING` where it names none.

    The forms of LLaVA's ScienceQA evaluation come first (``B``, ``B. …``, ``The answer is B``), then (ours) ``(B)``,
    ``B: …`` and the text of exactly one choice, which that evaluation counts as wrong.

    Args:
        answer: The model's.
        choices: In their order.
    """
    strict = chosen_by_letter(answer, choices)
    if strict != NOTHING or not choices:
        return strict
    text = answer.strip()
    for pattern in (_LEAD, _TOLD):
        found = pattern.search(text)
        letter = next(filter(None, found.groups()), "") if found else ""
        if letter and (place := LETTERS.index(letter.upper())) < len(choices):
            return place
    told = f" {bare(answer)} "
    whole = [i for i, choice in enumerate(choices) if bare(choice) and bare(choice) == told.strip()]
    within = whole or [i for i, choice in enumerate(choices) if bare(choice) and f" {bare(choice)} " in told]
    longest = [
        i for i in within if not any(i != j and f" {bare(choices[i])} " in f" {bare(choices[j])} " for j in within)
    ]
    return longest[0] if len(longest) == 1 else NOTHING


def chosen_by_letter(answer: str, choices: Sequence[str]) -> int:
    """The same as LLaVA's ScienceQA evaluation reads it: letters only, of those that there are (A to E).

    Args:
        answer: The model's.
        choices: In their order.
    """
    text = answer.replace("\n", ". ")
    letters = LETTERS[:5]
    letter = ""
    if text.strip() in tuple(letters):
        letter = text.strip()
    elif len(text) >= 3 and text[0] in letters and text[1:3] == ". ":
        letter = text[0]
    elif found := (re.search(r"The answer is ([A-E])\.", text) or re.search(r"The answer is ([A-E])", text)):
        letter = found[1]
    place = letters.index(letter) if letter else NOTHING
    return place if place < len(choices) else NOTHING


def says_yes(answer: str) -> bool:
    """Whether an answer is a yes as POPE's evaluation reads it: no "no", "No" or "not" in its first sentence.

    Args:
        answer: The model's.
    """
    words = answer.split(".", 1)[0].replace(",", "").split(" ")
    return not {"No", "not", "no"}.intersection(words)


def relaxed(answer: str, annotated: str) -> bool:
    """Relaxed correctness of ChartQA: a number within 5 % of the annotated one, else the same words.

    Args:
        answer: The model's.
        annotated: The truth.
    """
    ours, theirs = (_number(text.strip()) for text in (answer, annotated))
    if ours is not None and theirs:
        return abs(ours - theirs) / abs(theirs) <= TOLERANCE
    return answer.strip().lower() == annotated.strip().lower()


def exact(answer: str, annotated: str) -> bool:
    """Exact match in lower case without a closing full stop, as GQA's answers are compared."""
    ours, theirs = (text.strip().rstrip(".").strip().lower() for text in (answer, annotated))
    return ours == theirs


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None
